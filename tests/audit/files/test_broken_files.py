"""Faults put into real photographs are found, each by its own name, and sound images are left alone."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kintsugi.audit.files.broken_files import BrokenFiles
from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage


class Listed:
    """A source of images of mixed sizes; None cannot be read."""

    fingerprint = "listed"

    def __init__(self, images):
        self.images, self.reads = images, 0

    def __len__(self):
        return len(self.images)

    def read(self, row):
        self.reads += 1
        if self.images[row] is None:
            raise BadImage(f"{row}.jpg", "truncated", "12 bytes")
        return self.images[row]


def view(images):
    table = ImageSet.from_arrays(np.zeros((len(images), 1, 1), np.uint8), np.zeros(len(images), int)).table
    return ImageSet(Listed(images), table, ("c0",))


def audit(images, **options):
    return BrokenFiles(**options)(view(images), None, np.random.default_rng(0))


@pytest.fixture(scope="module")
def crops():
    from sklearn.datasets import load_sample_images

    rng, found = np.random.default_rng(0), []
    while len(found) < 40:
        photo = load_sample_images().images[len(found) % 2]
        top, left = rng.integers(427 - 96), rng.integers(640 - 96)
        crop = photo[top : top + 96, left : left + 96]
        if crop.std() > 30:
            found.append(crop)
    return found


def test_sound_photographs_are_left_alone(crops):
    assert len(audit(crops)) == 0


def test_every_fault_is_named(crops):
    image = list(crops)
    image[0] = None
    image[1] = np.full((96, 96, 3), 90, np.uint8)
    image[2] = (image[2] * 0.05).astype(np.uint8)
    image[3] = 255 - (image[3] * 0.05).astype(np.uint8)
    image[4] = np.asarray(Image.fromarray(image[4]).filter(ImageFilter.GaussianBlur(4)))
    image[5] = image[5][:12, :12]
    image[6] = np.concatenate([image[6]] * 4, axis=1)
    told = {(row.ids[0], row.check) for row in audit(image).flagged}
    names = ["unreadable", "blank", "dark", "bright", "blurred", "odd_size", "odd_aspect"]
    assert told >= {(f"{i:06d}", name) for i, name in enumerate(names)}
    assert {name for name, _ in told} == {f"{i:06d}" for i in range(7)}
    worst = audit(image).rows[0]
    assert (worst.score, worst.check, worst.why) == (1.0, "unreadable", "0.jpg: truncated (12 bytes)")


def test_each_image_is_decoded_once_and_a_bad_one_told_once(crops):
    data = view([*crops[:25], None])
    BrokenFiles()(data, None, np.random.default_rng(0))
    assert data.source.reads == 26
    again = BrokenFiles()(data, None, np.random.default_rng(0))
    assert [row.check for row in again] == ["unreadable"]


def test_scores_order_by_how_bad(crops):
    dark = [(crops[i] * gain).astype(np.uint8) for i, gain in enumerate((0.08, 0.02, 0.05))]
    found = [row.ids[0] for row in audit([*dark, *crops[3:]]) if row.check == "dark"]
    assert found == ["000001", "000002", "000000"]


def test_tiny_images_and_few_images():
    assert [row.check for row in audit([np.zeros((1, 1, 3), np.uint8)])] == ["blank", "dark"]
    assert any("Fewer than 20" in note for note in audit([np.zeros((1, 1, 3), np.uint8)]).summary.notes)
    assert len(audit([])) == 0


def test_bad_arguments():
    with pytest.raises(BadArgument, match="blank=0"):
        BrokenFiles(blank=0)
    with pytest.raises(BadArgument, match=r"size=0\.5"):
        BrokenFiles(size=0.5)
