"""What is planted is what is said to be planted, in the shares asked for, and nothing else changes."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.contaminate import KINDS, contaminate
from kintsugi.data.imageset import ImageSet


def clean(n=200, side=24):
    rng = np.random.default_rng(0)
    return ImageSet.from_arrays(
        rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), np.arange(n) % 4, list("abcd")
    )


FOREIGN = np.full((60, 9, 9), 77, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_alone(kind):
    data = clean()
    made, truth = contaminate(data, {kind: 0.1}, np.random.default_rng(0), foreign=FOREIGN)
    added = 0 if kind == "labels" else 20
    assert len(made) == 200 + added
    assert made.ids[:200] == data.ids
    assert truth.off_topic.sum() == (added if kind in ("foreign", "blurred") else 0)
    assert truth.wrong.sum() == (20 if kind == "labels" else 0)
    assert len(truth.pairs) == (added if kind in ("copies", "marked") else 0)
    assert not truth.off_topic[:200].any()
    np.testing.assert_array_equal(np.flatnonzero(made.labels[:200] != data.labels), np.flatnonzero(truth.wrong))
    for i in range(200):
        assert (made[i].image == data[i].image).all()


def test_mixed_faults_know_of_each_other():
    data, everything = clean(), dict.fromkeys(KINDS, 0.2)
    made, truth = contaminate(data, everything, np.random.default_rng(1), foreign=FOREIGN)
    assert len(made) == len(truth.off_topic) == len(truth.wrong) == 200 + 4 * 40
    place = {name: i for i, name in enumerate(made.ids)}
    assert len(truth.pairs) == 80
    for original, copy in truth.pairs:
        assert made.labels[place[original]] == made.labels[place[copy]]
        assert truth.wrong[place[original]] == truth.wrong[place[copy]]
        assert (made[place[original]].image != made[place[copy]].image).any()
    assert truth.wrong[:200].sum() == 40
    foreign = [made[i].image for i, name in enumerate(made.ids) if name.startswith("foreign")]
    assert len(foreign) == 40
    assert all((image == 77).all() and image.shape == (24, 24, 3) for image in foreign)
    again, same = contaminate(data, everything, np.random.default_rng(1), foreign=FOREIGN)
    assert (again.labels == made.labels).all()
    assert same.pairs == truth.pairs
    assert all((again[i].image == made[i].image).all() for i in range(200, len(made)))


def test_heavy_blur_leaves_next_to_nothing():
    made, truth = contaminate(clean(), {"blurred": 0.1}, np.random.default_rng(0))
    detail = [np.abs(np.diff(made[int(i)].image.astype(float), axis=0)).mean() for i in range(len(made))]
    assert max(np.array(detail)[truth.off_topic]) < 0.3 * min(np.array(detail)[~truth.off_topic])


def test_images_of_several_sizes_keep_them():
    parts = [clean(40, 24), clean(40, 48)]
    parts[1] = ImageSet(parts[1].source, parts[1].table, parts[1].classes).with_column(
        "id", [f"big{i}" for i in range(40)]
    )
    data = ImageSet.concat(parts)
    made, truth = contaminate(data, {"copies": 0.5, "blurred": 0.1}, np.random.default_rng(0))
    place = {name: i for i, name in enumerate(made.ids)}
    assert all(made[place[a]].image.shape == made[place[b]].image.shape for a, b in truth.pairs)
    assert len(made) == len(truth.wrong) == 80 + 40 + 8


def test_nothing_asked_changes_nothing_and_bad_values_are_named():
    data = clean(20)
    assert contaminate(data, {}, np.random.default_rng(0))[0] is data
    with pytest.raises(BadArgument, match="shares='mould'"):
        contaminate(data, {"mould": 0.1}, np.random.default_rng(0))
    with pytest.raises(BadArgument, match="shares=1.5"):
        contaminate(data, {"labels": 1.5}, np.random.default_rng(0))
    with pytest.raises(BadArgument, match="no foreign images"):
        contaminate(data, {"foreign": 0.1}, np.random.default_rng(0))
    with pytest.raises(BadData, match="60 foreign images for 70"):
        contaminate(clean(70), {"foreign": 1.0}, np.random.default_rng(0), foreign=FOREIGN)
