"""Calibration error against a loop over the paper's bins, and its bias against the truth."""

import numpy as np
import pytest

from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.calibration_error import CalibrationError, bin_of


def two_class(confidence, right):
    """Two-class probabilities whose top is ``confidence``."""
    top = np.zeros(len(confidence), dtype=int)
    return np.stack([confidence, 1 - confidence], axis=1), np.where(right, top, 1)


def value(confidence, right, **options):
    metric = CalibrationError(**options)
    metric.update(*two_class(confidence, right))
    return metric.compute()


@pytest.mark.parametrize("norm", [1, 2])
def test_equal_width_is_equation_5(norm):
    rng = numpy_rng(0, "ece")
    confidence = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < confidence**2
    total = 0.0
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap**norm
    assert value(confidence, right, bins=10, norm=norm)["value"] == pytest.approx(total ** (1 / norm))


def test_equal_mass_bins_hold_equal_numbers_and_never_split_ties():
    confidence = numpy_rng(0).permutation(np.linspace(0.5, 0.99, 60))
    assert np.bincount(bin_of(confidence, 6, "mass")).tolist() == [10] * 6
    tied = np.repeat([0.5, 0.7, 0.9], [50, 5, 5])
    place = bin_of(tied, 6, "mass")
    assert all(len(set(place[tied == v])) == 1 for v in (0.5, 0.7, 0.9))


def test_one_bin_is_the_gap_of_the_means():
    made = value(np.array([0.6, 0.8, 1.0]), np.array([True, True, False]), bins=1)
    assert made["value"] == pytest.approx(abs(2 / 3 - 0.8))


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("binning", ["width", "mass"])
def test_debiasing_removes_most_of_the_error_of_a_calibrated_model(norm, binning):
    rng, plain, debiased, holds_zero, chance = numpy_rng(1, "debias"), [], [], [], []
    for _ in range(12):
        confidence = rng.uniform(0.5, 1, 400)
        right = rng.random(400) < confidence
        options = {"norm": norm, "binning": binning, "draws": 200}
        made = value(confidence, right, **options)
        plain.append(made["value"])
        holds_zero.append(made["interval"][0] == 0.0)
        chance.append(made["baseline"])
        debiased.append(value(confidence, right, debias=True, **options)["value"])
    assert np.mean(debiased) < 0.7 * np.mean(plain)
    assert np.mean(holds_zero) > 0.9
    assert np.mean(chance) == pytest.approx(np.mean(plain), rel=0.15)


def test_an_overconfident_model_is_found_out():
    rng = numpy_rng(3, "over")
    confidence = rng.uniform(0.8, 1, 1000)
    made = value(confidence, rng.random(1000) < confidence - 0.15, draws=300)
    assert made["p_value"] < 0.01
    assert 0.05 < made["interval"][0] <= 0.15 <= made["interval"][1]


def test_debiased_squares_are_unbiased_where_the_truth_is_known():
    # One bin, confidence 0.7, true accuracy 0.9: the truth is 0.2.
    rng, squares = numpy_rng(2, "truth"), []
    for _ in range(300):
        right = rng.random(30) < 0.9
        squares.append(value(np.full(30, 0.7), right, bins=1, norm=2, debias=True, draws=100)["value"] ** 2)
    assert np.mean(squares) == pytest.approx(0.04, abs=0.006)
