"""Against scikit-learn's discriminant, and against leaving weightless samples out."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from kintsugi.core.errors import BadArgument
from kintsugi.ops.discriminant import held_out_discriminant

RNG = np.random.default_rng(0)
LABEL = np.repeat(np.arange(3), 60)
POINTS = RNG.standard_normal((180, 5)) @ RNG.standard_normal((5, 5)) + LABEL[:, None] * [1.0, 0, 2, 0, 0]
FOLD = np.arange(180) % 4


def prob(logits):
    made = np.exp(logits - logits.max(axis=1, keepdims=True))
    return made / made.sum(axis=1, keepdims=True)


def test_each_fold_is_judged_by_a_discriminant_of_the_others():
    made = held_out_discriminant(POINTS, LABEL, np.ones(180), FOLD, 3, shrinkage=1e-7)
    point = (POINTS - POINTS.mean(axis=0)) / POINTS.std(axis=0)
    for fold in range(4):
        test = fold == FOLD
        peer = LinearDiscriminantAnalysis(solver="lsqr").fit(point[~test], LABEL[~test])
        np.testing.assert_allclose(prob(made[test]), peer.predict_proba(point[test]), atol=2e-4)


def test_a_weight_of_nought_is_a_sample_left_out_and_two_is_twice():
    weight = RNG.integers(0, 3, 180)
    made = held_out_discriminant(POINTS, LABEL, weight, FOLD, 3)
    repeated = np.repeat(np.arange(180), np.maximum(weight, 1))
    point = (POINTS - POINTS.mean(axis=0)) / POINTS.std(axis=0)
    for fold in range(4):
        rows = np.repeat(np.arange(180), np.where(fold == FOLD, 0, weight))
        mean = np.stack([point[rows[LABEL[rows] == k]].mean(axis=0) for k in range(3)])
        apart = point[rows] - mean[LABEL[rows]]
        within = 0.9 * apart.T @ apart / len(rows)
        within += 0.1 * np.trace(within) / 0.9 / 5 * np.eye(5)
        slope = np.linalg.solve(within, mean.T)
        share = np.bincount(LABEL[rows], minlength=3) / len(rows)
        start = np.log(share) - (mean * slope.T).sum(axis=1) / 2
        np.testing.assert_allclose(made[fold == FOLD], point[fold == FOLD] @ slope + start, rtol=1e-3, atol=1e-3)
    assert len(repeated) > 180


def test_columns_that_never_change_and_classes_without_weight():
    wide = np.hstack([POINTS, np.full((180, 1), 7.0)])
    np.testing.assert_allclose(
        held_out_discriminant(wide, LABEL, np.ones(180), FOLD, 3),
        held_out_discriminant(POINTS, LABEL, np.ones(180), FOLD, 3),
    )
    made = held_out_discriminant(POINTS, LABEL, (LABEL != 1).astype(float), FOLD, 4)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made[:, 1], made[:, 3])
    assert (made[:, [1, 3]] <= made[:, [0, 2]]).all()
    assert not held_out_discriminant(np.ones((9, 2)), np.zeros(9, int), np.ones(9), np.arange(9), 2).any()
    with pytest.raises(BadArgument, match="shrinkage"):
        held_out_discriminant(POINTS, LABEL, np.ones(180), FOLD, 3, shrinkage=0)
