"""Measures are what their formulas say; planted defects are flagged as what they are, and usual images are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from kintsugi.audit.files.image_quality import ImageQuality
from kintsugi.audit.files.measures import DEFECTS, MEASURES, measure, planted
from kintsugi.core.errors import BadArgument
from kintsugi.data.formats import open_data
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.trials import image_quality as evidence


def crops(count, side, seed=0):
    photo = load_sample_image("china.jpg")[150:]  # below the sky
    rng = np.random.default_rng(seed)
    corners = rng.integers([0, 0], np.array(photo.shape[:2]) - side + 1, (count, 2))
    return np.stack([photo[top : top + side, left : left + side] for top, left in corners])


def audit(data, **options):
    return ImageQuality(**options)(data, None, np.random.default_rng(0))


def flagged(found, check):
    return {row.ids[0] for row in found.flagged if row.check == check}


def test_measures_are_their_formulas():
    for image in crops(5, 24):
        level = (image.astype(int) @ [77, 150, 29] + 128) // 256
        light = next(t for t in range(256) if (level <= t).mean() >= 0.99) / 255
        shade = next(t for t in range(256) if (level <= t).mean() >= 0.05) / 255
        share = np.bincount((level // 4).ravel()) / level.size
        entropy = -sum(p * np.log2(p) for p in share if p)
        exact = image.astype(float) @ [77, 150, 29] / 256
        rough, slope = -(22**2) * 20 / 12, -(22**2) * 4 / 12  # without the rounding's share
        for y in range(1, 23):
            for x in range(1, 23):
                around = exact[y - 1, x] + exact[y + 1, x] + exact[y, x - 1] + exact[y, x + 1]
                rough += (around - 4 * exact[y, x]) ** 2
                slope += (exact[y, x + 1] - exact[y, x]) ** 2 + (exact[y + 1, x] - exact[y, x]) ** 2
        apart = np.abs(np.diff(image.astype(int), axis=2)).sum(axis=2).mean()
        expected = [light, shade, (level < 250).mean(), entropy, rough / slope, apart]
        assert measure(image[None])[0] == pytest.approx(expected, rel=1e-6)


def test_detail_has_its_closed_forms():
    y, x = np.mgrid[:96, :96]
    noise = np.random.default_rng(0).integers(0, 256, (96, 96))
    for level, expected in (
        (noise, 5.0),  # E|laplacian|^2 = 20 s^2, E|gradient|^2 = 4 s^2
        (255 * ((x + y) % 2), 8.0),
        (127.5 + 120 * np.sin(0.3 * x), 2 * (1 - np.cos(0.3))),
    ):
        image = np.repeat(np.rint(level).astype(np.uint8)[None, ..., None], 3, axis=3)
        assert measure(image)[0, MEASURES.index("detail")] == pytest.approx(expected, rel=0.03)
    assert np.isnan(measure(np.full((1, 8, 8, 3), 7, np.uint8))[0, MEASURES.index("detail")])


@settings(max_examples=20)
@given(st.floats(0.3, 1.0))
def test_detail_does_not_depend_on_exposure(gain):
    image = crops(3, 48)
    column = MEASURES.index("detail")
    darker = np.rint(image * gain).astype(np.uint8)
    assert measure(darker)[:, column] == pytest.approx(measure(image)[:, column], rel=0.05)


def test_detail_falls_with_blur_however_strong():
    image, shapes = crops(20, 64), np.full((20, 2), 64)
    column = MEASURES.index("detail")
    blurred = [planted(image, shapes, "blurred", s, np.random.default_rng(0)) for s in (0.01, 0.02, 0.04, 0.08, 0.12)]
    found = np.array([np.nanmedian(measure(each)[:, column]) for each in (image, *blurred)])
    assert (np.diff(found[:4]) < 0).all()
    assert (found[4:] <= found[3]).all()


@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_defects_move_their_measure_and_copy_the_images(defect):
    image, strength = crops(20, 48), {"washed out": 0.15, "blurred": 0.05, "patch": 0.95, "noise": 0.2}.get(defect, 4)
    before = image.copy()
    made = planted(image, np.full((20, 2), 48), defect, strength, np.random.default_rng(0))
    np.testing.assert_array_equal(image, before)
    assert made.shape == image.shape
    column, sign = {
        "dark": ("light", -1),
        "overexposed": ("unclipped", -1),
        "washed out": ("shade", 1),
        "blurred": ("detail", -1),
        "patch": ("entropy", -1),
        "noise": ("detail", 1),
    }[defect]
    change = sign * (measure(made) - measure(image))[:, MEASURES.index(column)]
    assert (change > 0).mean() >= 0.9


@pytest.fixture(scope="module")
def defects():
    """240 crops, of which the first of each eight-strong block have a defect."""
    image, shapes = crops(240, 64), np.full((4, 2), 64)
    rng = np.random.default_rng(1)
    for start, (defect, strength) in enumerate(
        (("dark", 5), ("overexposed", 6), ("washed out", 0.08), ("blurred", 0.05), ("patch", 0.97), ("noise", 0.25))
    ):
        rows = slice(8 * start, 8 * start + 4)
        image[rows] = planted(image[rows], shapes, defect, strength, rng)
    image[48:52] = np.asarray(
        [np.stack([np.asarray(Image.fromarray(one).convert("L"))] * 3, 2) for one in image[48:52]]
    )
    return ImageSet.from_arrays(image, [0] * 240)


def test_each_defect_is_flagged_as_what_it_is_and_little_else(defects):
    found = audit(defects)
    name = defects.ids
    assert set(name[0:4]) <= flagged(found, "dark")
    assert set(name[8:12] + name[16:20]) <= flagged(found, "bright")
    assert set(name[24:28]) <= flagged(found, "blurry")
    assert set(name[32:36] + name[40:44]) <= flagged(found, "low_information")
    assert set(name[48:52]) <= flagged(found, "grey")
    bad = {name[start + k] for start in range(0, 56, 8) for k in range(4)}
    assert len({row.ids[0] for row in found} - bad) <= 6
    assert found.summary.count is None
    assert any(note.startswith("Cannot tell how many") for note in found.summary.notes)


def test_what_all_images_share_is_not_unusual():
    dark = ImageSet.from_arrays((crops(100, 48) * 0.15).astype(np.uint8), [0] * 100)
    found = audit(dark)
    assert len(flagged(found, "dark")) <= 10
    grey = np.repeat(crops(100, 48)[..., :1], 3, axis=3)
    found = audit(ImageSet.from_arrays(grey, [0] * 100))
    assert not flagged(found, "grey")
    assert any("100% of the images are grey" in note for note in found.summary.notes)


def test_identical_and_constant_images_are_no_crash_and_no_finding():
    for image in (crops(1, 32), np.full((1, 32, 32, 3), 90, np.uint8)):
        found = audit(ImageSet.from_arrays(np.repeat(image, 60, axis=0), [0] * 60))
        assert not len(found)
        assert found.summary.notes


def test_odd_sizes_and_shapes_are_those_few_others_have(tmp_path):
    image = crops(90, 96)
    for number, one in enumerate(image):
        size = {0: (30, 30), 1: (400, 400), 2: (240, 40), 3: (40, 240)}.get(
            number, (96, 80) if number % 2 else (48, 60)
        )
        Image.fromarray(one).resize(size).save(tmp_path / f"{number:03d}.png")
    found = audit(open_data(str(tmp_path)))
    assert flagged(found, "odd_size") == {"001.png"}  # of two usual sizes, one is within a factor of two of 30 pixels
    assert flagged(found, "odd_shape") == {"002.png", "003.png"}
    row = next(row for row in found if row.check == "odd_shape")
    assert {row.evidence["height"], row.evidence["width"]} == {40, 240}


def test_an_enlarged_image_is_not_blurred_for_it(tmp_path):
    for number, one in enumerate(crops(40, 96)):
        size = 12 if number == 0 else 96
        Image.fromarray(one).resize((size, size)).save(tmp_path / f"{number:03d}.png")
    found = audit(open_data(str(tmp_path)))
    assert "000.png" not in flagged(found, "blurry")
    assert "000.png" in flagged(found, "odd_size")


def test_few_images_cannot_tell():
    found = audit(ImageSet.from_arrays(crops(19, 32), [0] * 19))
    assert not len(found)
    assert any("Cannot tell" in note for note in found.summary.notes)


def test_bad_parameters_are_refused_by_name():
    for name, value in (("under", 0), ("most", 1), ("odd", 1), ("sample", 5), ("blur", 2), ("over", np.inf)):
        with pytest.raises(BadArgument, match=name):
            ImageQuality(**{name: value})


@pytest.mark.parametrize("kind", evidence.KINDS)
def test_planted_defects_of_the_trial_are_what_they_are_called(kind, tmp_path):
    plain = Image.fromarray(crops(1, 160)[0])
    for number in range(4):
        evidence._made(plain, kind, np.random.default_rng(number)).save(tmp_path / f"{number}.png")
    scores = evidence._plain(sorted(tmp_path.iterdir()))
    if kind == "odd_size":
        assert (scores["side"] < 60).all()
    elif kind == "grey":
        assert scores["grey"].all()
    elif kind == "bright":  # the lightest pixels of what is overexposed are white, whatever is dark in it
        assert all(np.asarray(Image.open(path)).mean() > 0.7 * 255 for path in tmp_path.iterdir())
    elif kind == "low_information":  # noise has more than enough entropy, a patch hardly any
        assert (scores[kind] < 0.3).any()
    else:
        assert (scores[kind] < evidence.LIMITS[""][kind]).mean() >= 0.75
