"""Agreement against a worked example and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from kintsugi.core.errors import BadArgument
from kintsugi.ops.agreement import cohen_kappa, fleiss_kappa, mean_pair_kappa

# Fourteen raters, ten items, five categories: the worked example that encyclopaedias print, kappa 0.210.
WORKED = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_the_worked_example():
    assert fleiss_kappa(WORKED) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([*WORKED, [1, 0, 0, 0, 0]]) == fleiss_kappa(WORKED)  # one rater agrees with nobody


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_cohens_is_scikit_learns(seed):
    a, b = np.random.default_rng(seed).integers(0, 3, (2, 30))
    assert cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))


def test_pairs_weigh_what_they_share():
    answers = np.array([[0, 0, -1], [1, 1, -1], [0, 1, 1], [1, 0, 0], [0, -1, 1]])
    pairs = [((0, 1), 4), ((0, 2), 3), ((1, 2), 2)]
    kappas = []
    for (i, j), shared in pairs:
        both = (answers[:, i] >= 0) & (answers[:, j] >= 0)
        assert both.sum() == shared
        kappas.append(cohen_kappa_score(answers[both, i], answers[both, j]))
    assert mean_pair_kappa(answers) == pytest.approx(np.average(kappas, weights=[4, 3, 2]))


def test_what_is_not_defined_is_none():
    assert fleiss_kappa([[3, 0], [2, 0]]) is None
    assert fleiss_kappa([[1, 0]]) is None
    assert cohen_kappa([1, 1], [1, 1]) is None
    assert mean_pair_kappa(np.array([[0, -1], [-1, 1]])) is None
    with pytest.raises(BadArgument, match="counts"):
        fleiss_kappa([[-1, 2]])
