"""Average precision against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from kintsugi.core.errors import BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.average_precision import (
    average_precision,
    average_precision_draws,
    average_precision_interval,
)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(1, 3)), min_size=1, max_size=30))
@settings(max_examples=80, deadline=None)
def test_agrees_with_sklearn_ties_and_weights_included(rows):
    score, hit, weight = (np.array(column) for column in zip(*rows, strict=True))
    if not hit.any():
        with pytest.raises(BadData, match="positive"):
            average_precision(score, hit)
        return
    assert average_precision(score, hit) == pytest.approx(average_precision_score(hit, score))
    expected = average_precision_score(hit, score, sample_weight=weight)
    assert average_precision(score, hit, weight) == pytest.approx(expected)
    assert average_precision(score, hit, np.stack([weight, weight])) == pytest.approx([expected, expected])


def test_by_hand():
    assert average_precision([4, 3, 2, 1], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)


def test_draws_are_those_of_resampling_both_sides():
    rng = numpy_rng(0, "draws")
    score, hit = rng.normal(size=40), np.arange(40) < 15
    score[hit] += 1
    drawn = average_precision_draws(score, hit, 4000, rng)
    slow = []
    for _ in range(1500):
        rows = np.concatenate([rng.choice(np.flatnonzero(side), side.sum()) for side in (hit, ~hit)])
        slow.append(average_precision_score(hit[rows], score[rows]))
    assert drawn.mean() == pytest.approx(np.mean(slow), abs=0.01)
    assert drawn.std() == pytest.approx(np.std(slow), rel=0.1)
    value, low, high = average_precision_interval(score, hit, rng)
    assert low < value < high


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(BadData, match="finite"):
        average_precision([0.1, np.nan], [True, False])
