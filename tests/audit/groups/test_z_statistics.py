"""Planted shortcuts are flagged with the exact probability, chance and legitimate features are not."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import hypergeom

from kintsugi.audit.groups.z_statistics import ZStatistics
from kintsugi.core.errors import BadArgument
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.formats import open_data
from kintsugi.data.imageset import ImageSet


def audit(data, **options):
    return ZStatistics(**options)(data, None, np.random.default_rng(0))


def made(label, **columns):
    names = [str(k) for k in range(int(max(label)) + 1)]
    return ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label, names, **columns)


def flagged(found):
    return {row.ids[0] for row in found.flagged}


def test_the_shortcut_of_the_embedded_data_is_named_and_the_balanced_has_none():
    world = DigitsOnPhotos()
    one, two = world.classes
    biased, fair = world.mixed(400, 0.1, "pool", 0), world.mixed(400, 0.5, "pool", 0)
    assert flagged(audit(biased)) == {f"background=temple, label={one}", f"background=flower, label={two}"}
    assert not flagged(audit(fair))
    assert not flagged(audit(biased, legitimate=("background",)))
    assert "digit" in " ".join(audit(biased).summary.notes)  # a digit belongs to one class: an id, and said to be


def test_z_p_and_effect_by_hand():
    label = np.array([0] * 60 + [1] * 140)
    tool = np.array(["a"] * 40 + ["b"] * 20 + ["a"] * 10 + ["b"] * 130)
    row = next(r for r in audit(made(label, tool=tool)) if r.ids == ("tool=a, label=0",))
    assert row.evidence["z"] == pytest.approx((0.8 - 0.3) / np.sqrt(0.21 / 50))
    assert row.evidence["effect"] == pytest.approx(0.5 / 0.7)
    assert row.evidence["p"] == pytest.approx(4 * hypergeom.sf(39, 200, 60, 50))


def test_large_data_make_a_trifle_certain_but_not_large():
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=200_000)
    tool = np.where(rng.random(len(label)) < 0.02, label, rng.integers(2, size=len(label)))
    found = audit(made(label, tool=tool.tolist()), files=False)
    assert len(found) == 2
    assert not found.flagged
    assert found.rows[0].evidence["z"] > 4


def test_chance_is_seldom_flagged():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        label = rng.integers(4, size=120)
        columns = {f"c{k}": rng.integers(6, size=120).tolist() for k in range(5)}
        alarms += bool(len(audit(made(label, **columns))))
    assert alarms <= 9  # 5% are promised; of 100 audits 10 or more come with probability 0.03


def test_numbers_are_cut_and_ids_left_out():
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=400)
    light = np.where(rng.random(400) < 0.05, np.nan, label + rng.normal(0, 0.2, 400))
    data = made(label, light=[None if np.isnan(v) else v for v in light], row=[f"r{k}" for k in range(400)])
    found = audit(data)
    assert len(found.flagged) >= 7  # of eight parts, one may lie between the classes
    assert all(name.startswith("light=") and " to " in name for name in flagged(found))
    assert "row" in " ".join(found.summary.notes)


def test_the_files_sizes_are_a_feature(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(2):
        (tmp_path / f"c{k}").mkdir()
        for number in range(40):
            side = (20, 24)[k] if number % 5 else int(rng.choice([20, 24]))
            Image.fromarray(np.full((side, 20, 3), number, np.uint8)).save(tmp_path / f"c{k}" / f"{number}.png")
    found = audit(open_data(str(tmp_path)))
    assert flagged(found) == {"file size=20 x 20, label=c0", "file size=24 x 20, label=c1"}
    assert not flagged(audit(open_data(str(tmp_path)), files=False))


def test_ten_thousand_classes_two_samples_each_and_constant_columns():
    label = np.repeat(np.arange(10_000), 2)
    data = made(label, camera=(label % 40).tolist(), same=["x"] * 20_000, empty=[None] * 20_000)
    found = audit(data)
    assert not any("same" in row.ids[0] or "empty" in row.ids[0] for row in found)
    assert "400,000 pairs" in " ".join(found.summary.notes)


def test_bad_parameters_are_refused_by_name():
    for name, value in (("effect", 0), ("level", 1), ("most_values", 1)):
        with pytest.raises(BadArgument, match=name):
            ZStatistics(**{name: value})
    with pytest.raises(BadArgument, match="nowhere"):
        audit(made([0, 1]), attributes=("nowhere",))
