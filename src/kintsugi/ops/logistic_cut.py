"""SelfClean's automatic cut: where a logistic distribution, laid through two quantiles of the scores, has hardly any.

Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits", NeurIPS 2024 (arXiv 2305.17048), appendix: with
l = logit(s) of scores s in 0..1 (small is suspicious), a guessed upper bound a of the contamination and a significance
q, a logistic distribution F is laid through the quantiles of l at a and sqrt(a / 2). Flagged is

    l < F^-1(q a N / M)

for M scores of N samples (M = N (N - 1) / 2 and a squared where pairs are scored). The published code drops scores of
exactly 0 and 1 first, so that exact duplicates are never flagged and what it returns counts in the shortened list. Here
0 is always flagged, 1 never, neither bends the fit, and the answer has one flag a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require

if TYPE_CHECKING:
    from numpy.typing import NDArray


def logistic_cut(
    score: NDArray[Any], *, alpha: float = 0.01, q: float = 0.05, samples: int | None = None, pairs: int | None = None
) -> tuple[float, NDArray[np.bool_]]:
    """The cut, and what lies below it.

    Args:
        score: 0..1, small is suspicious, float ``[S]``: all scores, or a random part of them.
        alpha: upper bound of the share of contaminated samples, below 0.5.
        q: significance.
        samples: N; None for as many as there are scores.
        pairs: M, where pairs are scored; None where samples are.

    Returns:
        The score below which a sample is flagged (0 where all scores are 0, 1 or alike) and bool ``[S]``.
    """
    require(0 < alpha < 0.5, "alpha", alpha, "a share above 0, below 0.5")
    require(0 < q < 1, "q", q, "a significance between 0 and 1")
    score = np.asarray(score, dtype=np.float64)
    if not np.isfinite(score).all() or ((score < 0) | (score > 1)).any():
        raise BadData("A score lies outside 0 to 1, or is not finite:", "give scores from 0 to 1.")
    inner = score[(score > 0) & (score < 1)]
    if not len(inner):
        return 0.0, score == 0
    n = len(score) if samples is None else samples
    guess, of = (alpha, n) if pairs is None else (alpha**2, pairs)
    at = np.array([guess, np.sqrt(guess / 2)])
    low, high = np.quantile(_logit(inner), at)
    odds = _logit(at)
    scale = (high - low) / (odds[1] - odds[0])
    if scale <= 0:
        return 0.0, score == 0
    place = low + scale * (_logit(np.array([q * guess * n / of]))[0] - odds[0])
    cut = float(1.0 / (1.0 + np.exp(-place)))
    return cut, (score < cut) | (score == 0)


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(p / (1.0 - p))
