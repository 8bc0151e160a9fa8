"""Views, labels, groups: ids stay, pixels are never copied."""

import numpy as np
import pyarrow as pa
import pytest
from data_pictures import image
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.groups import Groups
from kintsugi.data.imageset import ImageSet


def some(count=12, **columns):
    pixels = np.stack([image(k) for k in range(count)])
    return ImageSet.from_arrays(pixels, [k % 3 for k in range(count)], ["a", "b", "c"], **columns)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True), min_size=1, max_size=4))
def test_views_keep_ids_and_never_copy_pixels(cuts):
    data = some(place=list("xyxyxyxyxyxy"))
    by_id = {data.ids[k]: (data[k].image.tobytes(), int(data.labels[k])) for k in range(len(data))}
    view = data
    for cut in cuts:
        view = view.select([k for k in cut if k < len(view)] or [0])
        view = view.with_column("extra", list(range(len(view))))
        assert view.source is data.source
        assert np.shares_memory(view.source.image, data.source.image)
        for k, name in enumerate(view.ids):
            assert (view[k].image.tobytes(), int(view.labels[k])) == by_id[name]
            assert np.shares_memory(view[k].image, data.source.image)


def test_labels_are_not_in_the_fingerprint_but_pixels_ids_and_classes_are():
    data = some()
    assert data.relabel({"000000": "c"}).fingerprint == data.fingerprint
    assert data.select([0, 1]).fingerprint != data.fingerprint
    other = data.source.image.copy()
    other[3, 0, 0, 0] ^= 1
    assert ImageSet.from_arrays(other, data.labels, data.classes).fingerprint != data.fingerprint
    assert ImageSet.from_arrays(data.source.image, data.labels, ["a", "b", "d"]).fingerprint != data.fingerprint
    assert some().fingerprint == data.fingerprint


def test_what_does_not_fit_is_refused():
    pixels = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(BadData, match="'x' occurs more than once"):
        ImageSet.from_arrays(pixels, [0, 0], id=["x", "x"])
    with pytest.raises(BadData, match="outside the 1 classes"):
        ImageSet.from_arrays(pixels, [0, 1], ["only"])
    with pytest.raises(BadData, match="outside the 2 classes"):
        ImageSet.from_arrays(pixels, [0, -2], ["a", "b"])
    with pytest.raises(BadData, match="names 3 images, but there are 2"):
        ImageSet.from_arrays(pixels, [0, 0, 0])
    with pytest.raises(BadData, match="no column 'label'"):
        ImageSet(some().source, pa.table({"id": ["a"]}), ["a"])
    with pytest.raises(BadData, match="float64"):
        ImageSet.from_arrays(pixels / 255, [0, 0])
    with pytest.raises(BadArgument, match="no class 'z'"):
        some().relabel({"000000": "z"})
    with pytest.raises(BadArgument, match="'nobody'"):
        some().relabel({"nobody": "a"})
    with pytest.raises(BadArgument, match="give one a sample"):
        some().with_column("place", [1])
    with pytest.raises(IndexError):
        some()[12]


def test_a_negative_index_counts_from_the_end():
    data = some()
    assert (data[-1].id, data[-1].index) == ("000011", 11)


def test_groups_of_one_sample_and_unknown_ones():
    data = some(place=["land"] * 11 + ["water"])
    groups = data.groups("label", "place")
    assert groups.counts.tolist() == [4, 4, 3, 1]
    assert groups.names[3] == "label=c, place=water"
    assert groups.members(3).tolist() == [11]
    assert groups.take([11, 0]).index.tolist() == [3, 0]
    unknown = data.relabel({"000011": -1}).groups("label", "place")
    assert unknown.index[11] == -1
    assert Groups.of({"x": np.array([None, "", float("nan"), "v"], dtype=object)}).index.tolist() == [-1, -1, -1, 0]


def test_no_two_groups_share_a_name():
    data = some(a=["x, b=y"] * 6 + ["x"] * 6, b=["z"] * 6 + ["y, b=z"] * 6)
    assert data.groups("a", "b").names == ("a=x, b='y, b=z'", "a='x, b=y', b=z")


def test_joining_keeps_columns_targets_and_ids():
    one = some(4, place=list("wxyz"))
    two = ImageSet.from_arrays(np.zeros((2, 12, 16), np.uint8), [0, 1], ["a", "b", "c"], id=["g0", "g1"])
    two = two.with_targets(np.full((2, 3), 1 / 3))
    both = ImageSet.concat([one, two])
    assert both.ids == [*one.ids, "g0", "g1"]
    assert both.column("place").tolist() == ["w", "x", "y", "z", None, None]
    assert np.allclose(both.target[4:], 1 / 3)
    assert np.array_equal(both.target[:4], np.eye(3)[one.labels])
    assert np.array_equal(both[5].image, two[1].image)
    with pytest.raises(BadData, match="class lists"):
        ImageSet.concat([one, ImageSet.from_arrays(np.zeros((1, 4, 4), np.uint8), [0], ["z"])])
