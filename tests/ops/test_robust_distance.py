"""Robust distances against Mahalanobis' of the bulk alone, and where rows or columns are odd."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from kintsugi.ops.robust_distance import robust_distance


def correlated(count, columns, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, columns)) @ rng.standard_normal((columns, columns))).astype(np.float32)


def exact(points, of):
    centred = (points - of.mean(axis=0)).astype(float)
    return np.einsum("nd,de,ne->n", centred, np.linalg.inv(np.cov(of.T.astype(float))), centred)


def test_without_shrinkage_it_ranks_as_mahalanobis_distance_does():
    points = correlated(2000, 5)
    found = robust_distance(points, np.random.default_rng(0), shrink=1e-6)
    assert spearmanr(found, exact(points, points)).statistic > 0.99


def test_a_cluster_does_not_hide_itself():
    """A fifth lies on one spot, four deviations out in every column: the plain covariance is bent towards it."""
    rng = np.random.default_rng(1)
    bulk, spot = rng.standard_normal((400, 10)), 4 * rng.choice([-1, 1], 10)
    points = np.concatenate([bulk, spot + 0.1 * rng.standard_normal((100, 10))]).astype(np.float32)
    np.testing.assert_array_equal(np.sort(np.argsort(robust_distance(points, rng))[-100:]), np.arange(400, 500))
    assert (np.argsort(exact(points, points))[-100:] >= 400).sum() < 50


def test_rescaling_columns_changes_nothing():
    points = correlated(300, 6)
    once, twice = (
        robust_distance(points * scale + 3, np.random.default_rng(0))
        for scale in (1, np.array([1, 10, 0.1, 100, 1, 5], np.float32))
    )
    np.testing.assert_allclose(once, twice, rtol=1e-2)


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_fewer_rows_than_columns_and_constant_ones(count):
    points = np.random.default_rng(0).standard_normal((count, 60)).astype(np.float32)
    points[:, 10:20] = 7
    assert np.isfinite(robust_distance(points, np.random.default_rng(0))).all()
    np.testing.assert_allclose(robust_distance(np.ones((count, 4), np.float32), np.random.default_rng(0)), 0)


def test_a_column_that_few_rows_leave_counts_finitely():
    points = correlated(200, 4)
    points[:, 0] = 0
    points[7, 0] = 1e30
    found = robust_distance(points, np.random.default_rng(0))
    assert np.isfinite(found).all()
    assert found.argmax() == 7


def test_a_sample_stands_for_all():
    points = correlated(5000, 10)
    whole, part = (robust_distance(points, np.random.default_rng(0), sample=n) for n in (5000, 1000))
    assert spearmanr(whole, part).statistic > 0.95
