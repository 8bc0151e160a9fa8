"""Images that are unreadable, dark, bright, blank, blurred or oddly shaped are found, and the others are not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import laplace
from sklearn.datasets import load_sample_image

from kintsugi.audit.files.broken_files import BrokenFiles, measure
from kintsugi.core.errors import BadArgument
from kintsugi.data.formats import open_data
from kintsugi.data.imageset import ImageSet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "a").mkdir()
    (root / "b").mkdir()
    photo = Image.fromarray(load_sample_image("china.jpg"))
    for k in range(10):
        crop = photo.crop((40 * k, 20 * k, 40 * k + 128, 20 * k + 128))
        crop.save(root / "ab"[k % 2] / f"{k}.png")
    dim = np.asarray(crop) // 12
    Image.fromarray(dim.astype(np.uint8)).save(root / "a/dark.png")
    Image.fromarray((255 - np.asarray(crop) // 20).astype(np.uint8)).save(root / "a/bright.png")
    Image.new("RGB", (128, 128), (90, 120, 60)).save(root / "a/blank.png")
    crop.filter(ImageFilter.GaussianBlur(8)).save(root / "a/blurred.png")
    photo.crop((0, 0, 640, 20)).resize((1280, 40)).save(root / "b/odd.png")
    (root / "b/zero.png").touch()
    (root / "b/cut.png").write_bytes((root / "b/odd.png").read_bytes()[:200])
    return root


def test_each_fault_is_found_once_and_nothing_else(folder):
    data = open_data(folder)
    found = BrokenFiles()(data, None, np.random.default_rng(0))
    said = {(name.rsplit("/", 1)[-1], row.check) for row in found for name in row.ids}
    assert said == {
        ("dark.png", "dark"),
        ("bright.png", "bright"),
        ("blank.png", "blank"),
        ("blurred.png", "blurred"),
        ("odd.png", "odd_aspect"),
        ("zero.png", "unreadable"),
        ("cut.png", "unreadable"),
    }
    assert "2 of" in found.summary.notes[0]


def test_measures_agree_with_scipy():
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    luma = (0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]) / 255
    made = measure(image)
    for k in range(3):
        assert made[k, 3] == pytest.approx(laplace(luma[k])[1:-1, 1:-1].var() / luma[k].var())
        assert made[k, 2] == pytest.approx(luma[k].std())
        assert made[k, 0] == pytest.approx(np.percentile(luma[k], 99))


def test_small_images_are_measured_as_they_are_and_large_ones_on_a_copy_of_64():
    dots = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    dots[:, ::4, ::4] = 255  # as they are: 6% are white; enlarged or shrunk: grey
    large = np.zeros((2, 160, 160, 3), dtype=np.uint8)
    large[:, ::4, ::4] = 255
    for image, dark in ((dots, []), (large, ["dark", "dark"])):
        found = BrokenFiles(dark=0.9)(ImageSet.from_arrays(image, [0, 0]), None, np.random.default_rng(0))
        assert [row.check for row in found] == dark
    copy = np.asarray(Image.fromarray(large[0]).resize((64, 64), Image.Resampling.BILINEAR))
    assert [row.evidence["dark"] for row in found] == pytest.approx([measure(copy[None])[0, 0]] * 2)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (17, 40), (2, 5), (1, 1)])
def test_images_of_one_level_have_no_spread_and_percentiles_are_those_of_numpy(height, width):
    rng = np.random.default_rng(0)
    image = np.concatenate([rng.integers(0, 256, (3, height, width, 3)), np.full((1, height, width, 3), 77)])
    made = measure(image.astype(np.uint8))
    luma = (image @ [0.299, 0.587, 0.114] / 255).reshape(4, -1)
    assert made[:, :2] == pytest.approx(np.percentile(luma, [99, 5], axis=1).T)
    assert made[:, 2] == pytest.approx(luma.std(axis=1), abs=1e-6)
    assert made[3, 2:] == pytest.approx([0, 0], abs=1e-6)


def test_small_images_are_not_called_blurred():
    image = np.random.default_rng(0).integers(100, 140, (5, 8, 8, 3), dtype=np.uint8)
    found = BrokenFiles(blurred=1.0)(ImageSet.from_arrays(image, [0] * 5), None, np.random.default_rng(0))
    assert not [row for row in found if row.check == "blurred"]


def test_bad_parameters_are_refused_by_name():
    with pytest.raises(BadArgument, match="odd"):
        BrokenFiles(odd=1.0)
    with pytest.raises(BadArgument, match="dark"):
        BrokenFiles(dark=2.0)
