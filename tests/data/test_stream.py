"""The decoding stream: order, bounded memory, bad images left out, one answer whatever the number of threads."""

import threading

import numpy as np
import pyarrow as pa
import pytest
from data_pictures import encoded, image, put
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.encoded import Files
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import ArraySource, Joined
from kintsugi.data.stream import resized


def files(root, count=20, broken=()):
    paths = [put(root / f"{k}.png", encoded(image(k)) if k not in broken else b"") for k in range(count)]
    ids = [f"n{k}" for k in range(count)]
    table = pa.table({"id": ids, "label": pa.array([0] * count, pa.int64())})
    return ImageSet(Files(paths, ids), table, ["thing"])


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_order_is_kept_and_nothing_is_lost(tmp_path, workers, batch_size):
    data = files(tmp_path)
    seen = list(data.stream(batch_size, workers=workers))
    assert np.concatenate([rows for rows, _ in seen]).tolist() == list(range(20))
    for rows, images in seen:
        assert images.dtype == np.uint8
        assert len(rows) <= batch_size
        for row, found in zip(rows, images, strict=True):
            assert np.array_equal(found, image(int(row)))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(0, 19), max_size=9), max_size=6), st.sampled_from([0, 2]))
def test_any_order_is_followed(tmp_path_factory, order, workers):
    root = tmp_path_factory.getbasetemp() / "stream"
    data = files(root)
    seen = [rows.tolist() for rows, _ in data.stream(order=order, workers=workers, size=(8, 8))]
    assert seen == [rows for rows in order if rows]


def test_bad_images_are_left_out_and_recorded_once(tmp_path):
    data = files(tmp_path, broken=(0, 3, 4, 5))
    for _ in range(2):
        rows = [rows.tolist() for rows, _ in data.stream(3, workers=2)]
        assert rows == [[1, 2], [6, 7, 8], [9, 10, 11], [12, 13, 14], [15, 16, 17], [18, 19]]
    assert [(p.id, p.reason, p.kept) for p in data.problems] == [(f"n{k}", "empty", False) for k in (0, 3, 4, 5)]
    assert data.where(label="thing").problems is data.problems


def test_mixed_sizes_need_a_size(tmp_path):
    put(tmp_path / "a.png", encoded(image(1, 5, 5)))
    put(tmp_path / "b.png", encoded(image(2, 6, 9)))
    table = pa.table({"id": ["a", "b"], "label": pa.array([0, 0], pa.int64())})
    data = ImageSet(Files([tmp_path / "a.png", tmp_path / "b.png"]), table, ["thing"])
    with pytest.raises(BadData, match="size=") as caught:
        list(data.stream(workers=2))
    assert "5 x 5" in str(caught.value)
    for fit in ("crop", "pad", "squash"):
        ((_, images),) = data.stream(size=(4, 7), fit=fit)
        assert images.shape == (2, 4, 7, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_mixed_sizes_are_given_out_by_size_where_that_is_wanted(tmp_path, workers):
    shapes = [(5, 5), (6, 9), (5, 5), (6, 9), (9, 6), (5, 5)]
    paths = [put(tmp_path / f"{k}.png", encoded(image(k, *shape))) for k, shape in enumerate(shapes)]
    table = pa.table({"id": list("abcdef"), "label": pa.array([0] * 6, pa.int64())})
    data = ImageSet(Files(paths), table, ["thing"])
    made = list(data.stream(4, mixed=True, workers=workers))
    assert [rows.tolist() for rows, _ in made] == [[0, 2], [1, 3], [4], [5]]
    for rows, found in made:
        assert np.array_equal(found, np.stack([image(row, *shapes[row]) for row in rows]))
    small = list(data.stream(6, size=(6, 8), fit="squash", enlarge=False, mixed=True, workers=workers))
    assert [rows.tolist() for rows, _ in small] == [[0, 2, 5], [1, 3, 4]]
    assert np.array_equal(small[0][1][1], image(2, 5, 5))
    assert np.array_equal(small[1][1][2], resized(image(4, 9, 6), (6, 8), "squash"))


def test_arrays_that_are_small_enough_are_not_enlarged():
    pixels = np.stack([image(k) for k in range(3)])
    data = ImageSet.from_arrays(pixels, [0] * 3)
    for size, expected in (((12, 99), (12, 16)), ((11, 16), (11, 16)), ((99, 15), (99, 15))):
        ((_, found),) = data.stream(size=size, fit="squash", enlarge=False)
        assert found.shape == (3, *expected, 3)


class Counting:
    """A source that counts what is decoded and not yet given out."""

    fingerprint = "counting"

    def __init__(self):
        self.lock, self.read_so_far, self.given_out, self.most = threading.Lock(), 0, 0, 0

    def __len__(self):
        return 1000

    def read(self, row):
        with self.lock:
            self.read_so_far += 1
            self.most = max(self.most, self.read_so_far - self.given_out)
        return np.zeros((4, 4, 3), dtype=np.uint8)


def test_memory_is_bounded_and_leaving_early_stops_the_threads():
    source = Counting()
    ids = [str(k) for k in range(1000)]
    data = ImageSet(source, pa.table({"id": ids, "label": pa.array([0] * 1000, pa.int64())}), ["thing"])
    before = threading.active_count()
    batches = data.stream(10, workers=3)
    for _ in range(20):
        rows, _ = next(batches)
        source.given_out += len(rows)
    batches.close()
    assert source.most <= 30
    assert threading.active_count() == before
    assert source.read_so_far < 300


def test_an_endless_order_is_read_only_a_little_ahead(tmp_path):
    data, drawn = files(tmp_path), []

    def order():
        while True:
            drawn.append(1)
            yield [0, 1]

    batches = data.stream(order=order(), workers=2)
    for _ in range(3):
        next(batches)
    batches.close()
    assert len(drawn) <= 6


def test_sets_in_memory_take_the_fast_path_with_the_same_result():
    pixels = np.stack([image(k) for k in range(10)])
    data = ImageSet.from_arrays(pixels, [0] * 10)
    grey = ImageSet.from_arrays(pixels[..., 0], [0] * 10, id=[f"g{k}" for k in range(10)])
    both = ImageSet.concat([data, grey])
    for each in (data, grey, both, both.select([13, 2, 19, 0])):
        fast = np.concatenate([images for _, images in each.stream(3)])
        assert np.array_equal(fast, np.stack([each[k].image for k in range(len(each))]))
        shrunk = np.concatenate([images for _, images in each.stream(3, size=(6, 8))])
        assert shrunk.shape == (len(each), 6, 8, 3)


def test_joined_sources_of_different_sizes_go_through_resizing():
    source = Joined([ArraySource(np.zeros((2, 4, 4), np.uint8)), ArraySource(np.ones((3, 6, 6, 3), np.uint8))])
    assert source.gather is None
    data = ImageSet(source, pa.table({"id": list("abcde"), "label": pa.array([0] * 5, pa.int64())}), ["thing"])
    ((_, images),) = data.stream(size=(5, 5))
    assert images[:2].max() == 0
    assert images[2:].min() == 1


def test_errors_that_are_no_bad_images_are_not_hidden():
    class Failing(Counting):
        def read(self, row):
            raise RuntimeError("a bug")

    table = pa.table({"id": ["a"], "label": pa.array([0], pa.int64())})
    with pytest.raises(RuntimeError, match="a bug"):
        list(ImageSet(Failing(), table, ["thing"]).stream(workers=2))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fit", {"fit": "stretch"}),
        ("batch_size", {"batch_size": 0}),
        ("workers", {"workers": -1}),
        ("size", {"size": (0, 4)}),
    ],
)
def test_bad_parameters_are_refused_at_once(name, options):
    data = ImageSet.from_arrays(np.zeros((2, 4, 4), np.uint8), [0, 0])
    with pytest.raises(BadArgument, match=name):
        data.stream(**options)


def test_an_empty_set_gives_no_batches():
    data = ImageSet.from_arrays(np.zeros((2, 4, 4), np.uint8), [0, 0]).select([])
    assert list(data.stream()) == []
    assert list(data.stream(size=(3, 3))) == []
