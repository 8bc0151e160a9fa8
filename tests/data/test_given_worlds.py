"""Worlds of images the person has: disjoint parts, exact shares, and a clear answer where the data is not there."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose import cast_photos, coloured_fashion
from kintsugi.data.compose.cast_photos import CastPhotos
from kintsugi.data.compose.coloured_fashion import ColouredFashion
from kintsugi.data.compose.paired import PARTS

WORLDS = [(ColouredFashion, "ground", "garment"), (CastPhotos, "cast", "photo")]
given = pytest.mark.data


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A folder with files like the real ones, of noise."""
    rng = np.random.default_rng(0)
    for file, members, shape in ((coloured_fashion.FILE, (1, 3), (28, 28)), (cast_photos.FILE, (1, 7), (32, 32, 3))):
        label = np.repeat(members, 730)
        arrays = {f"x_{side}": rng.integers(0, 256, (1460, *shape), dtype=np.uint8) for side in ("train", "test")}
        np.savez(tmp_path / file, **arrays, y_train=label, y_test=label)
    monkeypatch.setenv("KINTSUGI_DATA", str(tmp_path))


@pytest.mark.parametrize("world", [ColouredFashion, CastPhotos])
def test_missing_data_is_answered(world, monkeypatch, tmp_path):
    monkeypatch.setenv("KINTSUGI_DATA", str(tmp_path))
    with pytest.raises(BadData, match="KINTSUGI_DATA"):
        world()
    monkeypatch.delenv("KINTSUGI_DATA")
    with pytest.raises(BadData, match="Set it to the folder"):
        world()


def test_only_cifar_classes_are_known():
    with pytest.raises(BadArgument, match="automobile"):
        CastPhotos(classes=("automobile", "unicorn"))


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(("world", "shortcut", "original"), WORLDS)
def test_shares_are_exact_and_every_original_stands_with_both_shortcuts(world, shortcut, original):
    made = world()
    data = made.mixed(200, 0.05, "pool", 0)
    first = data.column(shortcut)[np.flatnonzero(data.labels == 0)[0]]
    names, counts = np.unique((data.labels == 0) == (data.column(shortcut) == first), return_counts=True)
    assert sorted(counts) == [10, 190]
    assert len(names) == 2
    test = made.every_group("test", 0)
    counts = test.groups("label", shortcut).counts.tolist()
    assert len(set(counts)) == 1
    assert len(set(test.column(original))) == 2 * counts[0]


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(("world", "shortcut", "original"), WORLDS)
def test_parts_share_no_image_and_seeds_repeat(world, shortcut, original):
    made = world()
    seen = [{image.tobytes() for images in made._images[part] for image in images} for part in PARTS]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    a, b, other = (made.mixed(20, 0.5, "pool", seed) for seed in (3, 3, 4))
    assert a.fingerprint == b.fingerprint != other.fingerprint


@pytest.mark.usefixtures("planted")
def test_a_garment_keeps_its_greys_and_the_ground_has_its_colour(monkeypatch):
    made = ColouredFashion(jitter=5)
    for images in made._images["valid"]:
        images[:, :4], images[:, 4:] = 0, np.maximum(images[:, 4:], made.opaque)
    data = made.every_group("valid", 0)
    image = np.stack([data[k].image for k in range(len(data))]).astype(int)
    assert np.ptp(image[:, 4:], axis=-1).max() == 0  # grey: no colour of the ground shows through
    red = data.column("ground") == "red"
    for colour, rows in zip(coloured_fashion.GROUNDS.values(), (red, ~red), strict=True):
        assert np.abs(image[rows, 0, 0] - colour).max() <= 5


@pytest.mark.usefixtures("planted")
def test_warm_light_is_red_and_cold_light_blue():
    data = CastPhotos().every_group("valid", 0)
    image = np.stack([data[k].image for k in range(len(data))]).astype(float).mean((1, 2))
    warm = data.column("cast") == "warm"
    assert (image[warm, 0] > image[warm, 2]).all()
    assert (image[~warm, 0] < image[~warm, 2]).all()


def test_light_is_the_inverse_of_grey_levels():
    levels = np.arange(256, dtype=np.uint8)
    assert np.abs(cast_photos._from_light(cast_photos._to_light(levels)) * 255 - levels).max() < 1e-9
    assert cast_photos._to_light(levels)[188] == pytest.approx(0.5029, abs=1e-4)  # the standard's middle grey


@pytest.mark.parametrize(("world", "shortcut", "original"), [pytest.param(*world, marks=given) for world in WORLDS])
def test_the_real_files_hold_enough(world, shortcut, original):
    test = world().every_group("test", 0)
    assert min(test.groups("label", shortcut).counts) >= 200
