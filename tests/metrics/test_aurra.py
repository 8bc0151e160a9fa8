"""AURRA against all orders of ties, the other numbers of the paper against plain loops."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from kintsugi.core.errors import BadData
from kintsugi.metrics.aupr_ood import aupr_ood
from kintsugi.metrics.aurra import Aurra
from kintsugi.metrics.calibration_error import CalibrationError


def two_class(confidence, right):
    confidence = np.asarray(confidence, float)
    return np.stack([confidence, 1 - confidence], 1), np.where(right, 0, 1)


def value(confidence, right, **options):
    metric = Aurra(**options)
    metric.update(*two_class(confidence, right))
    return metric.compute()


def curve(right):
    return np.mean(np.cumsum(right) / np.arange(1, len(right) + 1))


def test_it_is_the_mean_of_the_curve():
    rng = np.random.default_rng(0)
    confidence, right = rng.uniform(0.5, 1, 50), rng.random(50) < 0.7
    made = value(confidence, right)
    assert made["value"] == pytest.approx(curve(right[np.argsort(-confidence)]))
    assert made["accuracy"] == pytest.approx(right.mean())
    low, high = made["interval"]
    assert low < made["value"] < high


def test_ties_are_the_mean_over_every_order():
    right = np.array([1, 0, 0, 1, 1])
    confidence = np.array([0.9, 0.7, 0.7, 0.7, 0.6])
    want = np.mean([curve([1, *middle, 1]) for middle in itertools.permutations([0, 0, 1])])
    assert value(confidence, right)["value"] == pytest.approx(want)
    assert value(np.full(5, 0.7), right)["value"] == pytest.approx(0.6)


def test_who_knows_its_errors_has_more_than_its_accuracy():
    right = np.arange(100) < 60
    knows, reversed_ = value(np.linspace(0.99, 0.51, 100), right), value(np.linspace(0.51, 0.99, 100), right)
    assert knows["value"] > 0.85 > 0.6 > reversed_["value"]
    assert knows["at"] == {"0.25": 1.0, "0.5": 1.0, "0.75": pytest.approx(60 / 75)}


def test_the_interval_covers():
    rng, inside, widths, values = np.random.default_rng(1), [], [], []
    whole_c = rng.uniform(0.5, 1, 20_000)
    whole_r = rng.random(20_000) < whole_c
    truth = value(whole_c, whole_r, draws=100)["value"]
    for _ in range(120):
        rows = rng.integers(0, 20_000, 150)
        made = value(whole_c[rows], whole_r[rows], draws=200)
        low, high = made["interval"]
        inside.append(low <= truth <= high)
        widths.append(high - low)
        values.append(made["value"])
    assert np.mean(inside) >= 0.92
    assert 0.9 <= np.mean(widths) / (2 * 1.96 * np.std(values)) <= 1.4


def test_the_papers_calibration_error_is_ours_with_bins_of_100():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.5, 1, 600)
    right = rng.random(600) < confidence**2
    order = np.argsort(confidence)
    squares = [(confidence[b].mean() - right[b].mean()) ** 2 for b in np.split(order, 6)]
    metric = CalibrationError(bins=6, binning="mass", norm=2, draws=100)
    metric.update(*two_class(confidence, right))
    assert metric.compute()["value"] == pytest.approx(np.sqrt(np.mean(squares)))


def test_aupr_is_scikit_learns_and_stands_beside_its_base_rate():
    rng = np.random.default_rng(3)
    inside, outside = rng.dirichlet([0.2] * 4, 150), rng.dirichlet([1.0] * 4, 30)
    made = aupr_ood(inside, outside, rng, draws=200)
    truth = np.repeat([0, 1], [150, 30])
    score = -np.concatenate([inside.max(1), outside.max(1)])
    assert made["value"] == pytest.approx(average_precision_score(truth, score))
    assert made["base_rate"] == pytest.approx(1 / 6)
    assert made["interval"][0] < made["value"] < made["interval"][1]
    with pytest.raises(BadData, match="outside"):
        aupr_ood(inside, np.zeros((0, 4)), rng)
