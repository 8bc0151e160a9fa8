"""MacroStd on hand-made counts, and its chance level by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.macro_std import MacroStd, macro_std


def filled(cells, **options):
    """A metric that saw ``(label, group, samples, right)`` cells."""
    metric = MacroStd(**options)
    for label, group, total, right in cells:
        prob = np.eye(3)[np.where(np.arange(total) < right, label, (label + 1) % 3)]
        metric.update(prob, np.full(total, label), np.full(total, group))
    return metric


def test_by_hand():
    # Class 0: 0.5 and 1.0 with weights 1/4 and 3/4, mean 0.875, variance 3/64. Class 1: one sub-group, 0.
    made = filled([(0, 0, 2, 1), (0, 1, 6, 6), (1, 0, 5, 2)]).compute()
    assert made["value"] == pytest.approx(np.sqrt(3 / 64) / 2)
    assert made["single"] == [1]
    assert [each["value"] for each in made["classes"]] == pytest.approx([np.sqrt(3 / 64), 0.0])


def test_equal_accuracies_have_no_spread():
    assert filled([(0, 0, 10, 5), (0, 1, 4, 2), (1, 0, 3, 3)]).compute()["value"] == 0.0


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_splitting_a_subgroup_into_equal_halves_changes_nothing(cells):
    total = np.array([2 * n for n, _ in cells])
    right = np.array([2 * min(h, n) for n, h in cells])
    label = np.arange(len(cells)) % 2
    halves = macro_std(np.tile(right // 2, 2), np.tile(total // 2, 2), np.tile(label, 2))
    assert macro_std(right, total, label) == pytest.approx(halves)


def test_baseline_is_the_mean_over_shuffled_subgroups():
    cells = [(0, 0, 5, 3), (0, 1, 12, 11), (1, 0, 8, 2), (1, 1, 3, 2)]
    made = filled(cells, draws=4000).compute()
    rng, drawn = numpy_rng(0, "shuffle"), []
    for _ in range(3000):
        right = []
        for k in (0, 1):
            answers = rng.permutation(np.concatenate([np.arange(n) < h for y, _, n, h in cells if y == k]))
            sizes = [n for y, _, n, _ in cells if y == k]
            right += [part.sum() for part in np.split(answers, np.cumsum(sizes)[:-1])]
        drawn.append(macro_std(right, [n for _, _, n, _ in cells], np.array([0, 0, 1, 1])))
    assert made["baseline"] == pytest.approx(np.mean(drawn), abs=0.005)
    assert made["p_value"] == pytest.approx(np.mean(np.array(drawn) >= made["value"] - 1e-12), abs=0.03)


def test_a_real_gap_stands_out_of_its_baseline():
    made = filled([(0, 0, 100, 95), (0, 1, 100, 40)]).compute()
    assert made["p_value"] < 0.01
    assert made["interval"][0] > made["baseline"]
    assert made["interval"][0] <= 0.275 <= made["interval"][1]
