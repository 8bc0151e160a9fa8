"""Group accuracy against numbers worked by hand."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.group_accuracy import GroupAccuracy
from kintsugi.ops.statistics import wilson


def toy():
    """Four groups: 9 of 10, 6 of 10, 1 of 1, 0 of 1; and two of unknown group, one right."""
    group = np.array([0] * 10 + [1] * 10 + [2, 3, -1, -1])
    right = np.array([1] * 9 + [0] + [1] * 6 + [0] * 4 + [1, 0, 1, 0])
    label = np.arange(len(group)) % 2
    return np.eye(2)[np.where(right, label, 1 - label)], label, group


def test_numbers_by_hand():
    metric = GroupAccuracy(train=[70, 20, 10, 0])
    metric.update(*toy())
    made = metric.compute()
    assert (made["value"], made["group"], made["count"]) == (0.0, 3, 22)
    assert made["group_mean"]["value"] == pytest.approx((0.9 + 0.6 + 1 + 0) / 4)
    assert made["training_weighted"]["value"] == pytest.approx(0.7 * 0.9 + 0.2 * 0.6 + 0.1 * 1.0)
    assert made["average"]["value"] == pytest.approx(17 / 24)
    assert made["unknown"] == {"group": 2, "label": 0}
    assert [each["count"] for each in made["groups"]] == [10, 10, 1, 1]
    assert made["groups"][1]["interval"] == pytest.approx(tuple(map(float, wilson(6, 10))))


def test_a_group_of_one_sample_leaves_the_worst_group_wide_open():
    made = GroupAccuracy()
    made.update(*toy())
    low, high = made.compute()["interval"]
    assert low < 0.01
    assert high > 0.5


def test_training_weights_need_every_training_group():
    metric = GroupAccuracy(train=[5, 5, 5, 5, 1])
    metric.update(*toy())
    assert metric.compute()["training_weighted"] is None


def test_worst_group_interval_covers_when_one_group_is_clearly_worst():
    rng, inside = numpy_rng(0, "cover"), []
    group = np.repeat(np.arange(3), 60)
    for _ in range(150):
        right = rng.random(180) < np.array([0.4, 0.9, 0.95])[group]
        metric = GroupAccuracy(draws=400)
        metric.update(np.eye(2)[np.where(right, 0, 1)], np.zeros(180, dtype=int), group)
        low, high = metric.compute()["interval"]
        inside.append(low <= 0.4 <= high)
    assert 0.90 <= np.mean(inside) <= 0.99


def test_groups_are_needed_and_unknown_labels_counted():
    prob, label, group = toy()
    with pytest.raises(BadArgument, match="group=None"):
        GroupAccuracy().update(prob, label)
    metric = GroupAccuracy()
    metric.update(prob, np.full_like(label, -1), group)
    with pytest.raises(BadData, match="known label"):
        metric.compute()
    metric.update(prob, label, group)
    assert metric.compute()["unknown"]["label"] == len(label)
