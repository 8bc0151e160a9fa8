"""One pass over the images: order, hashes, small pictures and vectors, with and without a memory of earlier passes."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kintsugi.audit.duplicates.near_duplicates import NearDuplicates
from kintsugi.audit.duplicates.seen import Seen, _batches
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage

SIZES = [(32, 32), (20, 41), (32, 32), (64, 50)]


class Mixed:
    """150 images of four sizes; some cannot be read, some are the same. It counts how often it is read."""

    fingerprint = "mixed"

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 150

    def read(self, row):
        self.reads += 1
        if row % 50 == 7:
            raise BadImage(str(row), "truncated")
        height, width = SIZES[row % 4]
        return np.random.default_rng(row // 8).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mixed():
    table = pa.table({"id": [f"{k:03d}" for k in range(150)], "label": pa.array([0] * 150, pa.int64())})
    return ImageSet(Mixed(), table, ["thing"])


def expected_hash(image):
    salt = image.shape[0].to_bytes(8, "little") + image.shape[1].to_bytes(8, "little")
    return hashlib.blake2b(image.tobytes(), digest_size=16, salt=salt).digest()


class Means:
    """An encoder that knows colours."""

    name = fingerprint = "means"

    def __call__(self, image):
        return image.mean((2, 3))


@pytest.mark.parametrize("remembered", [False, True])
def test_images_of_any_size_are_seen_in_their_order(remembered):
    data = mixed().remembering() if remembered else mixed()
    seen = Seen(data, Means(), turns=3)
    readable = [row for row in range(150) if row % 50 != 7]
    assert seen.rows.tolist() == readable
    images = [Mixed().read(row) for row in readable]
    assert seen.digest == [expected_hash(image) for image in images]
    small = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) for image in images]
    assert np.array_equal(seen.small, np.stack(small))
    assert seen.vectors == pytest.approx(np.stack([image.mean((0, 1)) / 255 for image in images]), abs=1e-5)
    assert seen.turned.shape == (len(readable), 2, 3)
    assert [problem.id for problem in data.problems] == ["007", "057", "107"]


def test_hashes_are_left_to_the_next_check_which_then_decodes_nothing():
    data = mixed().remembering(0)  # no pixels are kept
    first = Seen(data)
    before = data.source.source.reads
    again = Seen(data, features=np.ones((150, 2)), pictures=False)
    assert data.source.source.reads == before
    assert again.digest == first.digest
    assert again.rows.tolist() == first.rows.tolist()
    part = data.select(range(149, 20, -1))
    assert Seen(part, pictures=False).digest == Seen(mixed().select(range(149, 20, -1)), pictures=False).digest


def test_findings_do_not_depend_on_the_memory():
    made = []
    for data in (mixed(), mixed().remembering(), mixed().remembering(100_000)):
        findings = NearDuplicates()(data, None, np.random.default_rng(0))
        made.append([(row.ids, row.score, row.flagged, row.why) for row in findings])
    assert made[0]
    assert made[0] == made[1] == made[2]


def test_large_images_are_not_held_many_at_a_time():
    class Sized(Mixed):
        def shape(self, row):
            if row % 50 == 7:
                raise BadImage(str(row), "truncated")
            return 3000, 2000 if row < 100 else 40

    table = mixed().table
    parts = list(_batches(ImageSet(Sized(), table, ["thing"]), np.arange(150)))
    assert [row for part in parts for row in part] == list(range(150))
    assert {len(part) for part in parts[:48]} <= {1, 2, 3, 4}  # two, and those that cannot be read
    assert max(map(len, parts)) > 30
    assert {len(part) for part in _batches(mixed(), np.arange(150))} == {1}  # nobody knows how large they are


def test_pixels_in_any_layout_have_the_same_hash():
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    other = np.asfortranarray(image)
    digests = [Seen(ImageSet.from_arrays(each, [0] * 5), pictures=False).digest for each in (image, other)]
    assert digests[0] == digests[1] == [expected_hash(one) for one in image]


def test_nothing_to_see():
    seen = Seen(mixed().select([7, 57]), Means(), turns=2)
    assert len(seen.rows) == len(seen.digest) == len(seen.small) == len(seen.vectors) == 0
    assert seen.small.shape == (0, 32, 32, 3)
