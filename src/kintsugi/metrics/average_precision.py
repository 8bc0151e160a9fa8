"""Average precision: how well a score ranks the true ones first. For audits, detectors and spurious mAUC.

AP = sum_i (R_i - R_(i-1)) P_i over the distinct thresholds, highest first, without interpolation; equal scores are one
threshold, so their order cannot matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require
from kintsugi.ops.statistics import percentile_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def average_precision(score: ArrayLike, positive: ArrayLike, weight: ArrayLike | None = None) -> Any:
    """Average precision of a ranking.

    Args:
        score: higher is ranked first, float ``[N]``.
        positive: which are truly positive, bool ``[N]``.
        weight: importance of each, float ``[..., N]``; None for all 1. Leading axes give one answer each, which is how
            bootstrap draws are made.

    Returns:
        A float, or float64 ``[...]`` with ``weight`` of more axes.

    Raises:
        BadData: no positive, or a score is not finite.
    """
    s, hit = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    require(s.ndim == 1 and s.shape == hit.shape, "positive", hit.shape, f"one flag for each of the {s.shape} scores")
    if not hit.any():
        raise BadData("No sample is positive:", "average precision is not defined.")
    if not np.isfinite(s).all():
        raise BadData(f"{int((~np.isfinite(s)).sum())} scores are not finite:", "leave them out or repair them.")
    w = np.ones_like(s) if weight is None else np.asarray(weight, dtype=np.float64)
    order = np.argsort(-s, kind="stable")
    last = np.append(np.diff(s[order]) != 0, True)  # where a run of equal scores ends
    found = np.cumsum(w[..., order] * hit[order], axis=-1)[..., last]
    seen = np.cumsum(w[..., order], axis=-1)[..., last]
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    gain = np.diff(found, axis=-1, prepend=0.0)
    total = found[..., -1]
    require(bool((total > 0).all()), "weight", weight, "weights above 0 for some positive")
    answer = (gain * precision).sum(axis=-1) / total
    return float(answer) if answer.ndim == 0 else answer


def average_precision_draws(score: ArrayLike, positive: ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """Bootstrap draws of average precision, positives and negatives resampled each among themselves, ``[draws]``."""
    s, hit = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    made = np.empty(draws)
    block = max(1, 2_000_000 // len(s))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        weight = np.zeros((count, len(s)))
        for side in (hit, ~hit):
            size = int(side.sum())
            if size:
                weight[:, side] = rng.multinomial(size, np.full(size, 1 / size), size=count)
        made[start : start + count] = average_precision(s, hit, weight)
    return made


def average_precision_interval(
    score: ArrayLike, positive: ArrayLike, rng: np.random.Generator, *, draws: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Average precision with its bootstrap interval: value, low, high."""
    value = average_precision(score, positive)
    return (value, *percentile_interval(average_precision_draws(score, positive, draws, rng), level))
