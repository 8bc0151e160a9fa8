"""Spurious mAUC against scikit-learn's average precision, class by class, and its trap."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.spurious_mauc import SpuriousMauc


def toy(n=120):
    """Three classes; images of a class, and images that show only a class's feature (no class, or another one's)."""
    rng = numpy_rng(0, "toy")
    label = rng.integers(-1, 3, n)
    group = np.where(label < 0, rng.integers(0, 3, n), -1)
    group[label == 0] = np.where(rng.random((label == 0).sum()) < 0.5, 1, 0)
    return rng.dirichlet(np.ones(3), n), label, group


def test_is_the_mean_of_average_precision_not_of_the_roc_area():
    prob, label, group = toy()
    precision, area = [], []
    for k in range(3):
        rows = np.flatnonzero((label == k) | ((group == k) & (label != k)))
        precision.append(average_precision_score(label[rows] == k, prob[rows, k]))
        area.append(roc_auc_score(label[rows] == k, prob[rows, k]))
    metric = SpuriousMauc()
    metric.update(prob, label, group)
    made = metric.compute()
    assert made["value"] == pytest.approx(np.mean(precision))
    assert abs(made["value"] - np.mean(area)) > 0.02
    assert [each["value"] for each in made["classes"]] == pytest.approx(precision)
    assert made["skipped"] == []


def test_a_classifier_that_leans_on_the_feature_scores_at_chance_and_one_that_does_not_scores_1():
    label, group = np.array([0] * 50 + [-1] * 50), np.array([0] * 50 + [0] * 50)
    for lean, expected in ((True, 0.5), (False, 1.0)):
        p = np.where((label == 0) | lean, 0.9, 0.1)
        metric = SpuriousMauc()
        metric.update(np.stack([p, 1 - p], axis=1), label, group)
        assert metric.compute()["value"] == pytest.approx(expected)


def test_classes_without_negatives_are_named_and_none_is_an_error():
    prob, label, group = toy()
    metric = SpuriousMauc()
    metric.update(prob, label, np.where(group == 2, -1, group))
    assert metric.compute()["skipped"] == [2]
    nothing = SpuriousMauc()
    nothing.update(prob, label, np.full_like(group, -1))
    with pytest.raises(BadData, match="spurious feature"):
        nothing.compute()
    with pytest.raises(BadArgument, match="group reaches 7"):
        nothing.update(prob, label, np.full_like(group, 7))
