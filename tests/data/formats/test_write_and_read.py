"""What is written comes back: ids, labels, classes, columns, masks and, for encoded images, the very bytes."""

import csv
import errno
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import class_folders, encoded, image, put
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData, StorageFull
from kintsugi.data import export
from kintsugi.data.formats import WRITERS, open_data, write_data
from kintsugi.data.imageset import ImageSet
from kintsugi.data.masks import pack_masks

TARGETS = {"folder": "out", "parquet": "out.parquet", "webdataset": "out"}
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def assert_same(found, data):
    assert found.classes == data.classes
    assert found.ids == data.ids
    assert np.array_equal(found.labels, data.labels)
    assert set(found.columns) == set(data.columns)
    for name in set(data.columns) - {"mask", "target"}:
        assert found.table.column(name).to_pylist() == data.table.column(name).to_pylist(), name
    assert (found.target is None) == (data.target is None)
    assert data.target is None or np.allclose(found.target, data.target)
    for k in range(len(data)):
        assert np.array_equal(found[k].image, data[k].image)
        if "mask" in data.columns:
            ours, theirs = data.mask(k), found.mask(k)
            assert (ours is None) == (theirs is None)
            assert ours is None or np.array_equal(ours, theirs)


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_round_trip_of_arrays(tmp_path_factory, form, data):
    classes = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    count = data.draw(st.integers(1, 6))
    ids = data.draw(st.lists(names, min_size=count, max_size=count, unique=True))
    labels = data.draw(st.lists(st.integers(-1, len(classes) - 1), min_size=count, max_size=count))
    made = ImageSet.from_arrays(np.stack([image(k) for k in range(count)]), labels, classes, id=ids)
    if data.draw(st.booleans()):
        made = made.with_column(
            "split", data.draw(st.lists(st.sampled_from(["train", "val", "hold"]), min_size=count, max_size=count))
        )
    if data.draw(st.booleans()):
        made = made.with_column("place", data.draw(st.lists(st.integers(-5, 5), min_size=count, max_size=count)))
    if data.draw(st.booleans()):
        voices = data.draw(st.lists(st.integers(-1, len(classes) - 1), min_size=2 * count, max_size=2 * count))
        made = made.with_column("annotators", np.array(voices).reshape(count, 2))
    if data.draw(st.booleans()):
        masks = [None if k % 3 == 2 else image(k)[..., 0] > 60 for k in range(count)]
        made = made.with_column("mask", pack_masks(masks))
    if data.draw(st.booleans()):
        made = made.with_targets(made.soft_labels() * 0.9 + 0.1 / len(classes))
    assert_same(write_data(made, tmp_path_factory.mktemp("write") / TARGETS[form], form), made)


AWKWARD = (
    "plain", "sp ace", " before", "after ", "com,ma", 'quo"te', "apos'trophe", "new\nline", "car\rriage", "tab\tstop",
    "back\\slash", "sla/sh", "..", "ünï", "漢字", "🌸", "e\u0301", "é", "\u202ertl", "null", "007", "7", "-1", "1.0",
    "True", "a|b", "=SUM(A1)", "{json}", "%s", "x" * 300,
)  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_awkward_names_of_samples_classes_and_values_come_back(tmp_path, form):
    images = np.stack([image(k) for k in range(len(AWKWARD))])
    data = ImageSet.from_arrays(images, range(len(AWKWARD)), AWKWARD, id=AWKWARD, place=AWKWARD)
    assert_same(write_data(data, tmp_path / TARGETS[form], form), data)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.npz"])
def test_awkward_names_are_read_from_every_kind_of_table(tmp_path, name):
    for k in range(len(AWKWARD)):
        put(tmp_path / f"{k}.png", encoded(image(k)))
    rows = [{"id": each, "file, name": f"{k}.png", "label": each} for k, each in enumerate(AWKWARD)]
    path = tmp_path / name
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        images = np.stack([image(k) for k in range(len(AWKWARD))])
        np.savez(path, x=images, y=np.array(AWKWARD), id=np.array(AWKWARD))
    data = open_data(path, path=None if path.suffix == ".npz" else "file, name")
    assert data.ids == list(AWKWARD)
    assert [data.classes[k] for k in data.labels] == list(AWKWARD)
    assert data.problems == []


@pytest.mark.parametrize("form", WRITERS)
def test_encoded_images_are_copied_byte_for_byte_and_broken_ones_left_out(tmp_path, form):
    root = class_folders(tmp_path / "in")
    put(root / "cat" / "photo.jpg", encoded(image(9), "JPEG", quality=30))
    put(root / "cat" / "bad.jpg", b"no picture")
    data = open_data(root)
    found = write_data(data, tmp_path / TARGETS[form], form)
    assert found.ids == [name for name in data.ids if name != "cat/bad.jpg"]
    assert [(p.id, p.reason) for p in data.problems] == [("cat/bad.jpg", "not an image")]
    for k, name in enumerate(found.ids):
        assert found.source.content(int(found.rows[k])) == (root / name).read_bytes()


@pytest.mark.parametrize("form", WRITERS)
def test_views_joins_and_single_samples_are_written_as_they_are(tmp_path, form):
    one = ImageSet.from_arrays(np.stack([image(k) for k in range(4)]), [0, 1, 2, 0])
    two = ImageSet.from_arrays(image(9)[None, :6], [1], one.classes, id=["made"])
    both = ImageSet.concat([one, two]).select([4, 2])
    assert_same(write_data(both, tmp_path / TARGETS[form], form), both)


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_that_is_there_is_overwritten(tmp_path, form):
    data = ImageSet.from_arrays(image(0)[None], [0])
    target = tmp_path / TARGETS[form]
    mine = put(target / "mine.txt" if form != "parquet" else target, b"by hand")
    with pytest.raises(BadData, match="never overwritten"):
        write_data(data, target, form)
    assert mine.read_bytes() == b"by hand"
    mine.unlink()
    write_data(data, target, form)
    with pytest.raises(BadData, match="never overwritten"):
        write_data(data, target, form)


@pytest.mark.parametrize("form", WRITERS)
def test_a_full_disk_leaves_nothing_behind(tmp_path, form, monkeypatch):
    data = ImageSet.from_arrays(np.stack([image(k) for k in range(3)]), [0, 0, 0])

    def fill_up(data):
        yield next(images(data))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    images = export.images
    monkeypatch.setattr(export, "images", fill_up)
    with pytest.raises(StorageFull, match="out"):
        write_data(data, tmp_path / TARGETS[form], form)
    assert list(tmp_path.iterdir()) == []


def test_the_written_folder_is_an_image_folder_for_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    data = ImageSet.from_arrays(np.stack([image(k) for k in range(3)]), [0, 1, 0], ["cat", "dog"])
    write_data(data, tmp_path / "out")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert [np.asarray(row["image"]).tolist() for row in loaded["train"]] == [image(k).tolist() for k in range(3)]
    assert loaded["train"]["label"][:] == ["cat", "dog", "cat"]


def test_an_unknown_writer_is_named(tmp_path):
    with pytest.raises(BadArgument, match=r"format='zip'.*folder, parquet, webdataset"):
        write_data(ImageSet.from_arrays(image(0)[None], [0]), tmp_path / "out", "zip")


def test_a_table_of_other_tools_with_encoded_images(tmp_path):
    import pyarrow.parquet as pq

    cells = [{"bytes": encoded(image(k), "JPEG"), "path": None} for k in range(5)] + [None]
    table = pa.table({"img": cells, "fine_label": [3, 1, 1, 3, 0, 0], "split": ["train"] * 5 + ["valid"]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    data = open_data(tmp_path / "t.parquet")
    assert data.classes == ("0", "1", "2", "3")
    assert data.labels.tolist() == [3, 1, 1, 3, 0, 0]
    assert data.column("split").tolist() == ["train"] * 5 + ["val"]
    ((rows, images),) = data.select([5, 4, 0, 3]).stream(workers=2)
    assert rows.tolist() == [1, 2, 3]
    assert np.abs(images[1].astype(int) - image(0)).mean() < 12
    assert [(p.id, p.reason) for p in data.problems if not p.kept] == [("00000005", "missing")]
    with pytest.raises(BadArgument, match="'picture'"):
        open_data(tmp_path / "t.parquet", format="parquet", path="picture")


def test_a_folder_of_parquet_shards_tells_splits(tmp_path):
    import pyarrow.parquet as pq

    for number, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"]):
        cells = [encoded(image(2 * number + k)) for k in range(2)]
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table({"image": cells, "label": ["a", "b"]}), tmp_path / "data" / f"{name}.parquet")
    data = open_data(tmp_path)
    assert data.column("split").tolist() == ["train"] * 4 + ["val"] * 2
    assert [data[k].image.tolist() for k in range(6)] == [image(k).tolist() for k in range(6)]


def test_row_groups_are_dropped_from_memory(tmp_path, monkeypatch):
    from kintsugi.data.formats import parquet

    monkeypatch.setattr(parquet, "_GROUP", 2)
    monkeypatch.setattr(parquet, "_HELD", 1)
    made = ImageSet.from_arrays(np.stack([image(k) for k in range(9)]), [0] * 9)
    data = write_data(made, tmp_path / "t.parquet", "parquet")
    for k in np.random.default_rng(0).permutation(9):
        assert np.array_equal(data[int(k)].image, image(int(k)))
        assert len(data.source._held) == 1


def test_notes_of_joined_data_belong_to_their_rows(tmp_path):
    root = class_folders(tmp_path)
    put(root / "dog" / "odd.jpg", encoded(image(7)))
    odd = open_data(root)
    plain = ImageSet.from_arrays(image(0)[None], [0], odd.classes)
    both = ImageSet.concat([plain, odd])
    list(both.stream(workers=0))
    assert [note.where for note in both.notes] == ["dog/odd.jpg"]
    assert both.select([0, 1]).notes == []
