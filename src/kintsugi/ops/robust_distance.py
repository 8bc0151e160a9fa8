"""Distance of each row from the bulk of all, by a mean and a covariance that the rows which lie apart do not bend.

Columns are centred at their median and divided by 1.4826 times their median absolute deviation (the standard deviation,
were they normal), then cut at +-10, so that one column cannot decide all. The half of the rows whose mean absolute
value is least gives a first mean and covariance; three times the three quarters that are nearest by the squared
Mahalanobis distance give the next (concentration steps; Rousseeuw and Van Driessen, Technometrics 41, 1999). Of the
covariance C in its own axes, each variance v becomes (1 - s) v + s mean(v), s = 0.3 (Ledoit and Wolf's form with a
fixed weight), since there may be fewer rows than columns.

A tight group that stands out in no single column, only against the correlation of several, can be in the first half and
so pass for a part of the bulk. No factor makes it consistent with a chi-square distribution: distances are for ranking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CUT = 10.0  # standard deviations beyond which a column's value counts no more
CORE = (0.5, 0.75, 0.75, 0.75)  # share of the rows that mean and covariance are of, step by step
CELLS = 8_000_000  # numbers held at a time


def robust_distance(
    points: NDArray[np.float32], rng: np.random.Generator, *, shrink: float = 0.3, sample: int = 20_000
) -> NDArray[np.float64]:
    """Squared distance of every row, float64 ``[N]``.

    Args:
        points: finite, ``[N, D]``; the cost grows with D^3, the memory with D^2.
        rng: draws the rows that stand for all where there are more than ``sample``.
        shrink: s above, above 0, to 1.
        sample: rows that mean and covariance are of, at most.
    """
    rows = slice(None) if len(points) <= sample else np.sort(rng.permutation(len(points))[:sample])
    known = points[rows].astype(np.float64)
    middle = np.median(known, axis=0)
    scale = 1.4826 * np.median(np.abs(known - middle), axis=0)
    # Where most rows are alike, such as the colours of grey images, the few others are far, but finitely.
    scale += 1e-3 * known.std(axis=0) + 1e-9

    def scaled(some: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip((some - middle) / scale, -CUT, CUT)

    known = scaled(known)
    far = np.abs(known).mean(axis=1)
    mean, axes, variance = known.mean(axis=0), np.eye(known.shape[1]), np.ones(known.shape[1])
    for share in CORE:
        core = known[far <= np.quantile(far, share)]
        mean = core.mean(axis=0)
        product = (core - mean).T @ (core - mean) / max(1, len(core) - 1)
        variance, axes = np.linalg.eigh(product)
        variance = np.maximum((1 - shrink) * variance + shrink * variance.mean(), 1e-12)
        far = _squared(known, mean, axes, variance)
    found = np.empty(len(points))
    high = max(1, CELLS // max(1, points.shape[1]))
    for top in range(0, len(points), high):
        found[top : top + high] = _squared(scaled(points[top : top + high]), mean, axes, variance)
    return found


def _squared(
    points: NDArray[np.float64], mean: NDArray[np.float64], axes: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray((((points - mean) @ axes) ** 2 / variance).sum(axis=1))
