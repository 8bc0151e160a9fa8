"""Masks: any usual coding gives the same foreground, and the geometry is the image's."""

import numpy as np
import pytest
from data_pictures import encoded, put
from PIL import Image

from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet
from kintsugi.data.masks import pack_masks
from kintsugi.data.source import BadImage

MASK = np.zeros((12, 16), dtype=bool)
MASK[2:9, 3:11] = True


def data_with(value):
    return ImageSet.from_arrays(np.zeros((1, 12, 16, 3), np.uint8), [0], ["a"]).with_column("mask", [value])


def codings():
    yield "bool", encoded(MASK)
    yield "0/1", encoded(MASK.astype(np.uint8))
    yield "0/255", encoded(MASK * np.uint8(255))
    yield "object index 7", encoded(MASK * np.uint8(7))
    yield "rgb", encoded(np.repeat((MASK * np.uint8(255))[..., None], 3, axis=2))
    yield "16 bit", encoded(MASK.astype(np.uint16) * 65535)
    palette = Image.fromarray(MASK.astype(np.uint8), "L").convert("P")
    palette.putpalette([0, 0, 0, 90, 10, 10] + [0] * 762)
    yield "palette", encoded(palette)
    yield "cut-out", encoded(np.dstack([np.full((12, 16, 3), 200, np.uint8), MASK * np.uint8(255)]))
    soft = np.where(MASK, 250, 4).astype(np.uint8)
    yield "noisy", encoded(soft, "JPEG", quality=95)


@pytest.mark.parametrize(("name", "content"), list(codings()))
def test_codings_agree(name, content):
    found = data_with(content).mask(0)
    assert found.dtype == bool
    assert np.array_equal(found, MASK), name


def test_a_path_bytes_or_hugging_face_cell(tmp_path):
    path = put(tmp_path / "m.png", encoded(MASK))
    for value in (
        str(path),
        path.read_bytes(),
        {"bytes": path.read_bytes(), "path": None},
        {"bytes": None, "path": str(path)},
    ):
        assert np.array_equal(data_with(value).mask(0), MASK)
    assert data_with(None).mask(0) is None
    packed = ImageSet.from_arrays(np.zeros((2, 12, 16), np.uint8), [0, 0]).with_column("mask", pack_masks([MASK, None]))
    assert np.array_equal(packed.mask(0), MASK)
    assert packed.mask(1) is None


def test_all_or_nothing():
    for value in (False, True):
        assert (data_with(encoded(np.full((12, 16), value))).mask(0) == value).all()
    assert not data_with(encoded(np.zeros((12, 16), np.uint8))).mask(0).any()


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_a_mask_is_brought_to_size_as_its_image_is(fit):
    pixels = np.repeat((MASK * np.uint8(255))[None, ..., None], 3, axis=3)
    data = ImageSet.from_arrays(pixels, [0]).with_column("mask", pack_masks([MASK]))
    ((_, images),) = data.stream(size=(30, 30), fit=fit)
    mask = data.mask(0, size=(30, 30), fit=fit)
    assert mask.shape == (30, 30)
    assert np.array_equal(images[0, ..., 0] >= 128, mask)
    assert mask.any()
    assert not mask.all()


def test_broken_and_missing_masks(tmp_path):
    with pytest.raises(BadImage, match="missing"):
        data_with(str(tmp_path / "no.png")).mask(0)
    with pytest.raises(BadImage, match="not an image"):
        data_with(b"nonsense").mask(0)
    with pytest.raises(BadArgument, match="--mask"):
        ImageSet.from_arrays(np.zeros((1, 4, 4), np.uint8), [0]).mask(0)
