"""Remembered pixels: the same as without, decoded once, within the bound, and bad images stay what they are."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from data_pictures import encoded, image, put
from PIL import Image

from kintsugi.core.errors import BadArgument
from kintsugi.data.encoded import Files
from kintsugi.data.export import _encoded
from kintsugi.data.imageset import ImageSet
from kintsugi.data.remembered import Remembered
from kintsugi.models.cache import content_keys


class Counted(Files):
    """Files that count how often each is decoded."""

    def __init__(self, paths):
        super().__init__(paths)
        self.opened = []

    def read(self, row):
        self.opened.append(row)
        return super().read(row)

    def picture(self, row, enough=None):
        self.opened.append(row)
        return super().picture(row, enough)


def folder(root, count=12, broken=(), height=12, width=16, **options):
    codec = options.pop("codec", "PNG")
    paths = []
    for k in range(count):
        made = encoded(image(k, height, width), codec, **options) if k not in broken else b"no image"
        paths.append(put(root / f"{k}.{codec.lower()}", made))
    table = pa.table({"id": [f"n{k}" for k in range(count)], "label": pa.array([0] * count, pa.int64())})
    return ImageSet(Counted(paths), table, ["thing"])


def passes(data):
    """Pixels of several passes as checks make them."""
    made = []
    for options in ({}, {"size": (8, 8), "fit": "squash"}, {"size": (64, 64), "enlarge": False}, {"size": (9, 5)}):
        made.append([(rows.tolist(), images.tobytes()) for rows, images in data.stream(5, mixed=True, **options)])
    return made


@pytest.mark.parametrize("most", [0, 3 * 12 * 16 * 4, 2**20])
def test_pixels_are_the_same_whatever_is_kept(tmp_path, most):
    plain, data = folder(tmp_path), folder(tmp_path).remembering(most)
    assert passes(data) == passes(plain)
    assert passes(data) == passes(plain)
    assert data.fingerprint == plain.fingerprint
    assert data.source._held <= most


def test_what_fits_is_decoded_once_and_the_rest_again(tmp_path):
    data = folder(tmp_path)
    source = data.source
    kept = data.remembering()
    for _ in range(2):
        passes(kept)
    assert sorted(source.opened) == list(range(12))
    source.opened.clear()
    some = data.remembering(5 * (3 * 12 * 16 + 256))
    for _ in range(3):
        list(some.stream(4))
    assert len(source.opened) == 12 + 2 * 7


@pytest.mark.parametrize("size", [(16, 16), (96, 96), (200, 200)])
@pytest.mark.parametrize("first", ["read", "picture"])
def test_a_large_photograph_shrunk_on_loading_gives_the_same_pixels(tmp_path, size, first):
    plain = folder(tmp_path, 1, height=400, width=500, codec="JPEG", quality=90)
    data = plain.remembering()
    if first == "read":
        data.source.read(0)
    for _ in range(2):
        for wanted in (size, None):
            assert np.array_equal(
                np.asarray(data.source.picture(0, wanted)), np.asarray(plain.source.picture(0, wanted))
            )


def test_views_share_the_memory_and_views_of_it_need_no_other(tmp_path):
    data = folder(tmp_path).remembering()
    part = data.select([3, 4])
    list(part.stream())
    assert data.source._held == 2 * (3 * 12 * 16 + 256)
    assert part.remembering() is part
    arrays = ImageSet.from_arrays(np.zeros((2, 4, 4), np.uint8), [0, 0])
    assert arrays.remembering() is arrays
    with pytest.raises(BadArgument, match="most"):
        data.remembering(-1)


def test_bad_images_are_tried_once_at_each_size_and_recorded_as_ever(tmp_path):
    plain, data = folder(tmp_path, broken=(2, 7)), folder(tmp_path, broken=(2, 7)).remembering()
    for _ in range(2):
        assert passes(data) == passes(plain)
    assert list(data.problems) == list(plain.problems)
    assert [problem.id for problem in data.problems] == ["n2", "n7"]
    assert data.source.source.opened.count(2) == 4  # sizes: one may fit memory where another does not


def test_what_is_kept_cannot_be_changed(tmp_path):
    data = folder(tmp_path).remembering()
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            data.source.read(0)[:] = 0


def test_caches_and_writers_find_the_encoded_images(tmp_path):
    plain = folder(tmp_path)
    data = plain.remembering()
    assert content_keys(data) == content_keys(plain)
    assert _encoded(data.source, 3, "n3") == _encoded(plain.source, 3, "n3")
    both = ImageSet.concat([data, plain.with_column("id", [f"m{k}" for k in range(12)])])
    assert content_keys(both)[12:] == content_keys(both)[:12]


def test_sizes_are_read_once_and_those_of_the_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    put(tmp_path / "a.jpg", encoded(image(0), "JPEG", exif=exif))
    table = pa.table({"id": ["a"], "label": pa.array([0], pa.int64())})
    source = Counted([tmp_path / "a.jpg"])
    data = ImageSet(source, table, ["thing"]).remembering()
    assert data.source.read(0).shape == (16, 12, 3)
    assert data.source.shape(0) == (12, 16)
    assert source.shape(0) == (12, 16)
    assert source.opened == [0]


def test_a_source_that_cannot_tell_sizes_still_cannot():
    class Plain:
        fingerprint = "plain"

        def __len__(self):
            return 1

        def read(self, row):
            return np.full((4, 6, 3), 7, np.uint8)

    source = Remembered(Plain(), 2**20)
    assert source.shape is None
    assert np.asarray(source.picture(0, (1, 1))).shape == (4, 6, 3)


def test_two_passes_at_once_decode_each_image_once(tmp_path):
    data = folder(tmp_path, count=80, broken=(5,)).remembering()
    with ThreadPoolExecutor(2) as pool:
        first, second = (list(made) for made in pool.map(lambda size: data.stream(8, size=size), (None, (4, 4))))
    inner = data.source.source
    assert sorted(inner.opened) == sorted([*range(80), 5])  # the broken one at either size
    assert sum(len(rows) for rows, _ in first) == sum(len(rows) for rows, _ in second) == 79
