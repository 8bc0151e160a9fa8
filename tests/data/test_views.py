"""Views keep pixels, ids and classes; groups cross attributes; bad tables are answered."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.groups import Groups
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import ArraySource


def some(n=12):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, 4, 5, 3), dtype=np.uint8)
    return ImageSet.from_arrays(image, np.arange(n) % 3, ["a", "b", "c"], place=["x", "y"] * (n // 2))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 11), max_size=20, unique=True))
def test_a_view_shows_the_same_samples_without_copying_pixels(rows):
    data = some()
    view = data.select(rows)
    assert view.source is data.source
    assert view.ids == [data.ids[r] for r in rows]
    for place, row in enumerate(rows):
        assert np.shares_memory(view[place].image, data.source.image)
        assert np.array_equal(view[place].image, data[row].image)
        assert view[place].label == data.labels[row]


def test_where_and_split_and_groups():
    data = some().with_column("split", ["train"] * 8 + ["test"] * 4)
    assert set(data.where(place="x", label="a").labels) == {0}
    assert len(data.where(label=("a", "b"))) == 8
    assert len(data.split("test")) == 4
    groups = data.groups("label", "place")
    assert groups.names[0] == "label=a, place=x"
    assert groups.counts.sum() == 12
    with pytest.raises(BadArgument, match="Known: test, train"):
        data.split("nothing")
    with pytest.raises(BadArgument, match="'colour'"):
        data.groups("colour")


def test_unknown_values_leave_a_sample_without_a_group():
    groups = Groups.of({"a": np.array(["x", None, "", "x"], dtype=object)})
    assert groups.index.tolist() == [0, -1, -1, 0]
    assert groups.counts.tolist() == [2]
    with pytest.raises(BadData):
        Groups(np.array([3]), ("a",))


def test_relabel_by_id_and_name_keeps_the_fingerprint():
    data = some()
    new = data.relabel({data.ids[0]: "c"})
    assert new.labels[0] == 2
    assert data.labels[0] == 0
    assert new.fingerprint == data.fingerprint
    with pytest.raises(BadArgument, match="'nobody'"):
        data.relabel({"nobody": "a"})
    with pytest.raises(BadArgument, match="'z'"):
        data.relabel({data.ids[0]: "z"})


def test_soft_labels_travel_through_views_and_joins():
    data = some()
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 12).astype(np.float32)
    view = data.with_targets(soft).select([3, 1])
    assert np.array_equal(view.target, soft[[3, 1]])
    other = some().with_column("id", [f"o{k}" for k in range(12)])
    both = ImageSet.concat([data.with_targets(soft), other])
    assert np.allclose(both.target[:12], soft)
    assert np.allclose(both.target[12:], np.eye(3)[other.labels])
    assert np.array_equal(both[13].image, other[1].image)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"id": ["a", "a"], "label": [0, 0]}, "'a' occurs more than once"),
        ({"id": ["a", "b"], "label": [0, 7]}, "label 7 of 'b'"),
        ({"id": ["a", "b"]}, "no column 'label'"),
    ],
)
def test_bad_tables_are_answered(table, says):
    with pytest.raises(BadData, match=says):
        ImageSet(ArraySource(np.zeros((2, 2, 2), np.uint8)), pa.table(table), ["x"])


def test_floats_are_refused_with_their_range_unsaid():
    with pytest.raises(BadData, match="float64"):
        ArraySource(np.zeros((2, 2, 2)))


def test_streaming_gives_every_image_once_in_order():
    data = some()
    rows, images = zip(*data.stream(5), strict=True)
    assert np.concatenate(rows).tolist() == list(range(12))
    assert np.array_equal(np.concatenate(images), data.source.image)
