"""Against the published rule worked out with scipy's logistic distribution, and its traps."""

import numpy as np
import pytest
from scipy.stats import logistic

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.ops.logistic_cut import logistic_cut


def published(score, alpha, q, n, m):
    """Location and scale from two quantiles, by scipy."""
    values = np.log(score / (1 - score))
    at = [alpha, (alpha / 2) ** 0.5]
    (x1, x2), (y1, y2) = np.quantile(values, at), logistic.ppf(at)
    scale = (x1 - x2) / (y1 - y2)
    return logistic.cdf(logistic.ppf(q * alpha * n / m) * scale + x1 - scale * y1)


@pytest.mark.parametrize("seed", range(3))
def test_the_cut_is_the_published_one(seed):
    score = np.random.default_rng(seed).beta(3, 2, 2000)
    cut, flagged = logistic_cut(score, alpha=0.1)
    assert cut == pytest.approx(published(score, 0.1, 0.05, 2000, 2000), rel=1e-9)
    np.testing.assert_array_equal(flagged, score < cut)
    cut, _ = logistic_cut(score, alpha=0.1, samples=64, pairs=2016)
    assert cut == pytest.approx(published(score, 0.01, 0.05, 64, 2016), rel=1e-9)


def test_a_score_of_zero_is_flagged_in_its_own_place_and_bends_nothing():
    score = np.random.default_rng(0).beta(5, 2, 1000)
    plain = logistic_cut(score)[0]
    score[[7, 500]] = 0.0
    score[20] = 1.0
    cut, flagged = logistic_cut(score)
    assert flagged[[7, 500]].all()
    assert not flagged[20]
    assert cut == pytest.approx(plain, rel=0.05)
    assert len(flagged) == 1000


def test_scores_without_spread_flag_nothing_but_zero():
    assert logistic_cut(np.full(50, 0.3)) == (0.0, pytest.approx(np.zeros(50)))
    cut, flagged = logistic_cut(np.array([0.0, 1.0, 0.0]))
    assert (cut, flagged.tolist()) == (0.0, [True, False, True])
    assert not len(logistic_cut(np.array([]))[1])


def test_bad_values_are_named():
    with pytest.raises(BadArgument, match="alpha"):
        logistic_cut(np.array([0.5]), alpha=0.5)
    with pytest.raises(BadArgument, match="q=0"):
        logistic_cut(np.array([0.5]), q=0)
    with pytest.raises(BadData, match="outside"):
        logistic_cut(np.array([0.5, 1.5]))
