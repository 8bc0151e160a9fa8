"""How far people agree beyond chance: Fleiss' kappa of counts, and mean Cohen's kappa of pairs of raters.

Fleiss, "Measuring Nominal Scale Agreement among Many Raters", 1971: with n_ij raters putting item i into category j,
P_i = (sum_j n_ij^2 - n_i) / (n_i (n_i - 1)), kappa = (mean P_i - P_e) / (1 - P_e), P_e = sum_j p_j^2 over the shares
p_j of all answers. Items may have different numbers of raters; those with one say nothing and are left out.
Cohen, "A Coefficient of Agreement for Nominal Scales", 1960, is the same for two raters who keep shares of their own.
Where all answers are one category chance alone agrees fully, and kappa is not defined: None.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Fleiss' kappa of a table of answers, whole numbers ``[items, categories]``; None where it is not defined."""
    table = np.asarray(counts, dtype=np.float64)
    require(table.ndim == 2 and bool((table >= 0).all()), "counts", table.shape, "counts [items, categories]")
    n = table.sum(axis=1)
    table, n = table[n > 1], n[n > 1]
    if not len(table):
        return None
    agreed = float((((table**2).sum(axis=1) - n) / (n * (n - 1))).mean())
    chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return None if chance >= 1 - 1e-12 else (agreed - chance) / (1 - chance)


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float | None:
    """Cohen's kappa of two raters' answers to the same items ``[items]``; None where it is not defined."""
    a, b = np.asarray(first), np.asarray(second)
    require(a.shape == b.shape and a.ndim == 1, "second", b.shape, f"an answer for each of the {a.shape} items")
    if not len(a):
        return None
    names = np.unique(np.concatenate([a, b]))
    chance = sum(float((a == one).mean() * (b == one).mean()) for one in names)
    return None if chance >= 1 - 1e-12 else (float((a == b).mean()) - chance) / (1 - chance)


def mean_pair_kappa(answers: NDArray[Any], *, fewest: int = 2) -> float | None:
    """Mean Cohen's kappa over pairs of raters, weighted by the items both answered; None where there is no such pair.

    Args:
        answers: int ``[items, raters]``, -1 where a rater did not answer.
        fewest: items a pair must share.
    """
    held, sizes = [], []
    for one, other in combinations(range(answers.shape[1]), 2):
        both = (answers[:, one] >= 0) & (answers[:, other] >= 0)
        kappa = cohen_kappa(answers[both, one], answers[both, other]) if both.sum() >= fewest else None
        if kappa is not None:
            held.append(kappa)
            sizes.append(int(both.sum()))
    return float(np.average(held, weights=sizes)) if held else None
