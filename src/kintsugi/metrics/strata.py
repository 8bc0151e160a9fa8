"""A mean over strata (classes, numbers of labels, groups) and its interval, from sums alone: nothing is drawn.

For strata with means m_s, n_s samples and weights w_s the mean is M = sum_s w_s m_s, its variance V = sum_s w_s^2 v_s /
n_s. A stratum of few samples that are all right has no spread of its own, so v_s comes from its moments with one more
sample that is like all strata together. The interval is Wilson's for the number of independent samples a plain
proportion of that variance would need, n* = P (1 - P) / V (Dean and Pagano, "Evaluating Confidence Interval Methods
for Binomial Proportions in Clustered Surveys", 2015): it stays in 0..1 and holds M.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require
from kintsugi.ops.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def stratified_mean(
    count: ArrayLike,
    total: ArrayLike,
    squares: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
    population: ArrayLike | None = None,
) -> tuple[float, tuple[float, float]]:
    """Mean over strata of scores in 0..1, and its 95% interval.

    Args:
        count: samples of each stratum, above 0, ``[S]``.
        total: sum of their scores, ``[S]``.
        squares: sum of their squared scores, ``[S]``; None for scores of 0 and 1.
        weight: of each stratum, summing to 1; None for equal ones.
        population: how many there are of which the samples were drawn without replacement, ``[S]``; None for so many
            that it does not matter.
    """
    n, t = np.asarray(count, dtype=np.float64), np.asarray(total, dtype=np.float64)
    s = t if squares is None else np.asarray(squares, dtype=np.float64)
    require(n.ndim == 1 and len(n) > 0 and bool((n > 0).all()), "count", count, "samples of each stratum, above 0")
    w: Any = np.full(len(n), 1 / len(n)) if weight is None else np.asarray(weight, dtype=np.float64)
    value = float(np.clip(w @ (t / n), 0.0, 1.0))
    # Half a right and half a wrong answer on top of all: no set of answers is without doubt.
    pooled, pooled_squares = (t.sum() + 0.5) / (n.sum() + 1), (s.sum() + 0.5) / (n.sum() + 1)
    mean, square = (t + pooled) / (n + 1), (s + pooled_squares) / (n + 1)
    left = 1.0 if population is None else np.maximum(0.0, 1 - n / np.asarray(population, dtype=np.float64))
    variance = float((w**2 * (square - mean**2) / n * left).sum())
    if variance <= 0:  # everything was looked at
        return value, (value, value)
    centre = float(w @ mean)
    size = centre * (1 - centre) / variance
    low, high = wilson(value * size, size)
    return value, (min(value, float(low)), max(value, float(high)))
