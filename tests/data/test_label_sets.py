"""Sets of valid labels: formats, versions, order; and collages whose labels are known."""

import json
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.collage import PatchCollage
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.data.label_sets import LabelSets


def test_flags_counts_and_statuses():
    sets = LabelSets.of([[2, 0], [], {1: "unclear", 2: "wrong"}, {-1: "problematic"}])
    assert sets.flags(3).tolist() == [[True, False, True], [False] * 3, [False] * 3, [False] * 3]
    assert sets.flags(3, "unclear")[2].tolist() == [False, True, False]
    assert sets.counts().tolist() == [2, 0, 0, 0]
    assert sets.problematic.tolist() == [False, False, False, True]
    assert sets.take([2, 0])[0] == {1: "unclear", 2: "wrong"}
    with pytest.raises(BadData, match="2 classes"):
        sets.flags(2)


def test_a_file_and_a_column_give_back_what_was_put_in(tmp_path):
    sets = LabelSets.of([[2, 0], [], {1: "unclear", 2: "wrong"}, {-1: "problematic"}], "7")
    sets.write(tmp_path / "sets.json")
    read = LabelSets.read(tmp_path / "sets.json")
    assert (read.fingerprint, read.version) == (sets.fingerprint, "7")
    data = ImageSet.from_arrays(np.zeros((4, 2, 2), np.uint8), [2, 0, 1, 0]).with_column("label_sets", sets.to_column())
    assert LabelSets.of_column(data).fingerprint == sets.fingerprint
    assert LabelSets.of_column(data.select([2, 0])).fingerprint == sets.take([2, 0]).fingerprint


def test_a_column_of_plain_lists_is_taken_too():
    data = ImageSet.from_arrays(np.zeros((2, 2, 2), np.uint8), [2, 0], label_sets=pa.array([[1, 2], [0]]))
    assert LabelSets.of_column(data).flags(3).tolist() == [[False, True, True], [True, False, False]]


def test_new_labels_make_a_new_version():
    old = LabelSets.of([[0], [1]])
    new = old.with_labels({1: {2: "correct", 1: "wrong"}}, "2")
    assert (old[1], new[1]) == ({1: "correct"}, {1: "wrong", 2: "correct"})
    assert old.fingerprint != new.fingerprint
    with pytest.raises(BadArgument, match="version"):
        old.with_labels({}, "1")


def test_the_order_is_that_of_the_numbers_in_the_names():
    sets = LabelSets.of([[5], [6], [7]])
    ids = ["n02/ILSVRC2012_val_00000003.JPEG", "n01/ILSVRC2012_val_00000001.JPEG"]
    assert [list(one) for one in (sets.of_validation(ids)[0], sets.of_validation(ids)[1])] == [[7], [5]]
    with pytest.raises(BadData, match="names none"):
        sets.of_validation(["photo.jpg"])


@pytest.mark.parametrize("bad", [[{0: "maybe"}], [[-1]]])
def test_bad_labels_and_statuses_are_refused(bad):
    with pytest.raises(BadData, match="Image 0"):
        LabelSets.of(bad)


def test_a_file_of_another_form_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(BadData, match="list of lists"):
        LabelSets.read(tmp_path / "x.json")


@pytest.mark.data
def test_the_published_sets_are_read(tmp_path):
    with zipfile.ZipFile(given_file("imagenet_hierarchy_and_multilabels.zip")) as packed:
        (tmp_path / "real.json").write_bytes(packed.read("real.json"))
    sets, raw = LabelSets.read(tmp_path / "real.json"), json.loads((tmp_path / "real.json").read_text())
    assert len(sets) == 50_000
    assert int((sets.counts() == 0).sum()) == sum(not one for one in raw)
    assert 46_000 < int((sets.counts() > 0).sum()) < 47_000  # the paper leaves 46,837 images
    rows = np.arange(0, 50_000, 977)
    assert all(set(np.flatnonzero(f)) == set(raw[i]) for f, i in zip(sets.take(rows).flags(1000), rows, strict=True))


def patches():
    """Patches whose grey level tells their class."""
    label = np.arange(30) % 5
    return np.broadcast_to((40 * (label + 1))[:, None, None], (30, 4, 4)).astype(np.uint8), label


def test_the_labels_of_a_collage_are_what_is_in_it():
    made = PatchCollage(*patches(), list("abcde")).make([1, 2, 3, 4] * 5, np.random.default_rng(0))
    sets = LabelSets.of_column(made)
    for i in range(len(made)):
        seen = {int(v) // 40 - 1 for v in np.unique(made[i].image) if v}
        assert seen == set(sets[i])
        assert made.labels[i] in seen
        assert len(seen) == made.column("patches")[i]
    with pytest.raises(BadArgument, match="number"):
        PatchCollage(*patches(), list("abcde")).make([5], np.random.default_rng(0))


def test_patches_are_cut_along_boxes_whose_ends_are_inside():
    image = np.zeros((2, 8, 8), np.uint8)
    image[0, 2:5, 1:4] = 200
    data = ImageSet.from_arrays(image, [0, 1])
    cut = PatchCollage.of_boxes(data, [(1, 2, 3, 4), None], 3)
    assert cut.patch.min() == 200
    assert cut.label.tolist() == [0]
    with pytest.raises(BadData, match="outside"):
        PatchCollage.of_boxes(data, [(20, 20, 30, 30), None], 3)
