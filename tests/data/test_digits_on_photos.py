"""The embedded data: balanced, disjoint, repeatable; and the planted faults stand where they say."""

import numpy as np
import pytest
from PIL import Image

from kintsugi.core.errors import BadArgument
from kintsugi.data.compose import plant
from kintsugi.data.compose.digits_on_photos import PARTS, DigitsOnPhotos


@pytest.fixture(scope="module")
def world():
    return DigitsOnPhotos()


def test_parts_share_no_digit(world):
    digits = {part: set(world.every_group(part, 0).column("digit")) for part in PARTS}
    assert not digits["pool"] & digits["test"]
    assert not digits["pool"] & digits["valid"]
    assert not digits["valid"] & digits["test"]


def test_parts_share_no_pixel_of_the_photographs(world):
    for tiles in world._tiles:
        for a in PARTS:
            for b in PARTS:
                if a != b:
                    assert not any(np.shares_memory(x, y) for x in tiles[a] for y in tiles[b])


def test_every_test_group_has_a_hundred_distinct_digits(world):
    data = world.every_group("test", 0)
    groups = data.groups("label", "background")
    assert len(groups) == 4
    for g in range(4):
        members = data.select(groups.members(g))
        assert len(set(members.column("digit"))) == len(members) >= 100


@pytest.mark.parametrize("minority", [0.0, 0.01, 0.05, 0.5])
def test_the_rare_groups_are_as_rare_as_asked(world, minority):
    data = world.mixed(400, minority, "pool", 0)
    rare = (data.labels == 0) != (data.column("background") == "temple")
    assert rare.sum() == round(400 * minority)
    assert abs(int((data.labels == 0).sum()) - 200) == 0


def test_the_same_seed_gives_the_same_pixels(world):
    a, b = (world.mixed(20, 0.5, "pool", 3) for _ in range(2))
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != world.mixed(20, 0.5, "pool", 4).fingerprint


def test_the_digit_is_painted_over_the_photograph(world):
    sample = world.make([0], [0], "test", 0)[0]
    assert sample.image.shape == (16, 16, 3)
    assert sample.image.max() > 200  # ink
    assert np.median(sample.image) < 200  # a dimmed photograph
    Image.fromarray(sample.image)


def test_wrong_labels_are_exactly_the_planted_ones(world):
    data = world.mixed(100, 0.5, "pool", 0)
    noisy, wrong = plant.wrong_labels(data, 0.1, np.random.default_rng(0))
    assert wrong.sum() == 10
    assert np.array_equal(noisy.labels != data.labels, wrong)
    assert noisy.fingerprint == data.fingerprint


def test_duplicates_are_close_to_their_originals_and_keep_their_columns(world):
    data = world.mixed(100, 0.5, "pool", 0)
    longer, pairs = plant.near_duplicates(data, 7, np.random.default_rng(0))
    assert len(longer) == 107
    assert len(pairs) == 7
    place = {name: row for row, name in enumerate(longer.ids)}
    for original, copy in pairs:
        a, b = longer[place[original]], longer[place[copy]]
        assert 0 < np.abs(a.image.astype(int) - b.image).mean() < 20
        assert a.row == b.row
        assert a.label == b.label


def test_bad_parameters_are_refused_by_name():
    with pytest.raises(BadArgument, match="glyph"):
        DigitsOnPhotos(size=10)
    with pytest.raises(BadArgument, match="classes"):
        DigitsOnPhotos(classes=((3, 5), (5, 8)))
