"""Bias-conflicting accuracy on a biased toy set, worked by hand."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.metrics.bias_conflicting import BiasConflicting


def toy(groups):
    """Class 0 mostly on attribute 0 (8 of 10), class 1 mostly on attribute 1; half of the conflicting are right."""
    label = np.repeat([0, 1], 10)
    attribute = np.where(np.arange(20) % 10 < 8, label, 1 - label)
    right = np.where(attribute == label, True, np.arange(20) % 2 == 0)
    group = attribute if groups == "attribute" else 2 * label + attribute
    return np.eye(2)[np.where(right, label, 1 - label)], label, group


@pytest.mark.parametrize("groups", ["attribute", "crossed"])
def test_by_hand_for_attributes_and_for_crossed_groups(groups):
    metric = BiasConflicting()
    metric.update(*toy(groups))
    made = metric.compute()
    assert (made["value"], made["count"]) == (0.5, 4)
    assert (made["aligned"]["value"], made["aligned"]["count"]) == (1.0, 16)
    assert made["majority"] == ({0: 0, 1: 1} if groups == "attribute" else {0: 0, 1: 3})


def test_training_counts_decide_on_balanced_data():
    prob, label, group = toy("attribute")
    balanced = np.flatnonzero(np.arange(20) % 10 >= 6)
    metric = BiasConflicting(train=[[5, 95], [95, 5]])
    metric.update(prob[balanced], label[balanced], group[balanced])
    assert metric.compute()["aligned"]["value"] == 0.5
    tied = BiasConflicting()
    tied.update(prob[balanced], label[balanced], group[balanced])
    with pytest.raises(BadData, match="equally common"):
        tied.compute()


def test_only_majorities_and_bad_counts_are_refused():
    metric = BiasConflicting()
    metric.update(np.eye(2)[[0, 1]], np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(BadData, match="bias-conflicting"):
        metric.compute()
    with pytest.raises(BadArgument, match="train"):
        BiasConflicting(train=[1, 2])
