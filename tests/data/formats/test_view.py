"""A view on disk: a new table, the same pixels, and a patch that takes it back."""

import json

import numpy as np
import pytest
from data_pictures import image
from PIL import Image

from kintsugi.core.decision import Decision
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.files import read_json, write_json
from kintsugi.data.apply import apply_decisions
from kintsugi.data.formats import open_data, view, write_data


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    for k in range(8):
        place = root / ("cat", "dog")[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(k)).save(place / f"{k}.png")
    return root


def cleaned(data, where, out, **columns):
    decisions = [
        Decision(data.fingerprint, (data.ids[1],), "f1", "accept", "drop", reviewer="anna"),
        Decision(data.fingerprint, (data.ids[2],), "f2", "accept", "relabel", ("dog",), "anna"),
        Decision(data.fingerprint, (data.ids[3],), "f3", "accept", "relabel", ("cat|dog",), "anna"),
    ]
    changed, patch = apply_decisions(data, decisions)
    return view.write(changed, out, data=where, whole=data, columns=columns, patch=patch, why={"f1": "twice"}), changed


def same(one, other):
    assert one.ids == other.ids
    assert one.classes == other.classes
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.soft_labels(), other.soft_labels())
    for row in range(len(one)):
        np.testing.assert_array_equal(one[row].image, other[row].image)


def test_a_view_reads_back_as_it_was_and_copies_no_pixel(folder, tmp_path):
    data = open_data(folder)
    made, changed = cleaned(data, folder, tmp_path / "new")
    same(made, changed)
    same(open_data(tmp_path / "new"), changed)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["patch.json", "table.parquet", "view.json"]
    told = read_json(tmp_path / "new/patch.json")["changes"]
    assert [(each["action"], each["why"]) for each in told] == [("drop", "twice"), ("relabel", ""), ("relabel", "")]


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_views_of_images_that_are_no_files(folder, tmp_path, kind):
    where = tmp_path / ("held.parquet" if kind == "parquet" else "held")
    write_data(open_data(folder), where, kind)
    data = open_data(where)
    made, changed = cleaned(data, where, tmp_path / "new")
    same(made, changed)


def test_undo_gives_back_labels_and_samples(folder, tmp_path):
    data = open_data(folder)
    cleaned(data, folder, tmp_path / "new")
    back, whole, left = view.undone(tmp_path / "new", tmp_path / "new/patch.json")
    same(back, data)
    assert whole.fingerprint == data.fingerprint
    assert not len(left)


def test_a_view_of_a_view(folder, tmp_path):
    _, changed = cleaned(open_data(folder), folder, tmp_path / "new")
    again = open_data(tmp_path / "new")
    drop = Decision(again.fingerprint, (again.ids[0],), "g", "accept", "drop", reviewer="ben")
    made, patch = apply_decisions(again, [drop])
    view.write(made, tmp_path / "newer", data=tmp_path / "new", whole=again, columns={}, patch=patch)
    same(open_data(tmp_path / "newer"), changed.select(np.arange(1, len(changed))))


def test_data_that_changed_or_moved_is_refused_by_name(folder, tmp_path):
    data = open_data(folder)
    cleaned(data, folder, tmp_path / "new")
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(BadData, match="--root"):
        open_data(tmp_path / "new")
    assert len(open_data(tmp_path / "new", root=moved)) == 7
    Image.fromarray(image(99)).save(moved / "cat/0.png")
    with pytest.raises(BadData, match="not what the view"):
        open_data(tmp_path / "new", root=moved)


def test_nothing_is_written_over_and_other_data_is_refused(folder, tmp_path):
    data = open_data(folder)
    cleaned(data, folder, tmp_path / "new")
    with pytest.raises(BadData, match="never overwritten"):
        cleaned(data, folder, tmp_path / "new")
    with pytest.raises(BadArgument, match="label"):
        open_data(tmp_path / "new", label="y")
    other = open_data(folder)
    _, patch = apply_decisions(data, [])
    with pytest.raises(BadData, match="other data"):
        view.write(other, tmp_path / "x", data=folder, whole=data, columns={}, patch=patch)
    record = read_json(tmp_path / "new/patch.json")
    write_json(tmp_path / "patch.json", {**record, "data": "somebody else's"})
    with pytest.raises(BadData, match="other data"):
        view.undone(tmp_path / "new", tmp_path / "patch.json")
    write_json(tmp_path / "patch.json", {"data": record["data"], "changes": [{"id": "0"}]})
    with pytest.raises(BadData, match="no patch"):
        view.undone(tmp_path / "new", tmp_path / "patch.json")


@pytest.mark.parametrize("text", ["[]", "{}", '{"data": 3, "columns": 4, "fingerprint": ""}', "{"])
def test_a_broken_head_is_named(folder, tmp_path, text):
    cleaned(open_data(folder), folder, tmp_path / "new")
    (tmp_path / "new/view.json").write_text(text)
    with pytest.raises(BadData, match=r"view\.json"):
        open_data(tmp_path / "new")


def test_the_patch_is_json_for_others_too(folder, tmp_path):
    cleaned(open_data(folder), folder, tmp_path / "new")
    assert json.loads((tmp_path / "new/patch.json").read_text())["data"] == open_data(folder).fingerprint
