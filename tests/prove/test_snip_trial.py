"""The trial's scores are those of the method, and its threshold in hindsight is the best there is."""

import numpy as np
import pytest

from kintsugi.audit.duplicates.snip import excess
from kintsugi.ops.codes import ProductCodes
from kintsugi.prove.trials import snip


def test_scores_of_all_pairs_are_the_methods():
    points = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    codes = ProductCodes(4, 8).fit(points, np.random.default_rng(0))
    pairs, code = np.stack(np.triu_indices(60, 1), axis=1), codes.encode(points)
    fixed, adaptive = snip._scores(codes, points, pairs)
    np.testing.assert_allclose(-adaptive, excess(codes, points, code, pairs), rtol=1e-4)
    full = ((points[:, None] - codes.decode(code)[None]) ** 2).sum(-1)
    np.testing.assert_allclose(-fixed, np.maximum(full, full.T)[tuple(pairs.T)], rtol=1e-4)


def test_the_best_threshold_is_searched():
    truth = np.array([1, 1, 0, 1, 0, 0], bool)
    assert snip._best_f1(-np.arange(6.0), truth) == pytest.approx(6 / 7)
    assert snip._best_f1(np.zeros(6), truth) == pytest.approx(2 * 3 / 9)


def test_copies_that_are_nearest_are_counted():
    features = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.0, 0.05]])
    place = {"a": 0, "b": 1, "a-copy": 2, "b-copy": 3}
    assert snip._nearest_copies(features, [("a", "a-copy"), ("b", "b-copy")], place) == 0.0
    assert snip._nearest_copies(features[:3], [("a", "a-copy")], place) == 1.0
