"""Where look-alikes end and duplicates begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.ops.logistic_cut import logistic_cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 100  # candidate pairs from which the spread of look-alikes can be told
LEAST = 1.0  # below which nothing is called a copy where the spread of look-alikes cannot be told
TAIL = 0.95  # quantile from which look-alikes are taken to fall off exponentially

REACH = 0.25  # quantile of planted copies from which a pair may be a copy, and is left out of the tail
OVERLAP = 0.1  # share of candidate pairs beyond it from which these are look-alikes, and belong to the tail

NOTHING = "Look-alikes are as similar as changed copies here: cannot tell beyond identical pixels, only rank."


@dataclass(frozen=True)
class Cut:
    """A threshold on the similarity of pairs.

    Attributes:
        threshold: value from which a pair is flagged; infinite where copies cannot be told from look-alikes.
        recall: share of planted copies at or above it; None when none could be planted.
        false: look-alikes expected at or above it; None when their spread cannot be told.
        note: how it was found, for a person.
        most: as ``false``, at the upper end of what is known of their spread.
    """

    threshold: float
    recall: float | None
    false: float | None
    note: str
    most: float | None = None


def tail(look_alikes: NDArray[np.float64], at: float = TAIL) -> tuple[float, float, float]:
    """Where the upper tail of look-alikes begins, its scale, and the upper end of the scale's 95% interval.

    Beyond the quantile u (``at``) the excess is taken to be exponential; its scale is median(excess) / log 2, so that
    how far its upper half lies does not matter: part of that may be true duplicates. Of m values its relative error is
    1 / (sqrt(m) log 2).
    """
    start = float(np.quantile(look_alikes, at))
    excess = look_alikes[look_alikes > start] - start
    if not len(excess):
        return start, 1e-9, 1e-9
    scale = max(float(np.median(excess)) / float(np.log(2)), 1e-9)
    return start, scale, scale * (1 + 1.96 / (np.sqrt(len(excess)) * np.log(2)))


def calibrated(
    value: NDArray[np.float64],
    look_alikes: NDArray[np.float64],
    pairs: int,
    planted: NDArray[np.float64] | None,
    fdr: float,
    at: float = TAIL,
) -> Cut:
    """The lowest threshold that keeps the expected share of false pairs below ``fdr``.

    Of ``pairs`` look-alikes, pairs (1 - at) exp(-(t - u) / scale) are expected beyond t (:func:`tail`). Planted
    copies say how many are missed; they are no bound, since real copies differ more than planted ones do. Pairs as
    alike as 75% of planted copies are left out of the tail, unless they are many. Where no pair stands out of the tail
    and planted copies would not do so either, copies cannot be told from look-alikes.

    Args:
        value: of the promising pairs, see :mod:`kintsugi.audit.duplicates.alike`.
        look_alikes: of a random sample of all candidate pairs.
        pairs: number of all candidate pairs.
        planted: of planted copies with their originals; None when the images cannot be changed.
        fdr: accepted share of false pairs among those flagged.
        at: quantile at which the tail begins.
    """
    copies = np.zeros(0) if planted is None else planted
    if len(look_alikes) < FEWEST:
        if not len(copies):
            return Cut(np.inf, None, None, "Too few images to tell look-alikes from duplicates: only exact ones count.")
        floor = max(float(np.quantile(copies, 0.02)), LEAST)
        note = "Flagged are pairs as similar as 98% of planted copies; too few images to count look-alikes."
        return Cut(floor, 0.98, None, note)
    below = look_alikes[look_alikes < np.quantile(copies, REACH)] if len(copies) else look_alikes
    if len(below) < (1 - OVERLAP) * len(look_alikes):
        below = look_alikes
    start, scale, widest = tail(below, at)

    def expected(beyond: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        return np.asarray(pairs * (1 - at) * np.exp(-np.maximum(beyond - start, 0) / width))

    ranked = np.sort(value[value > start])[::-1]
    fine = np.flatnonzero(expected(ranked, widest) <= fdr * np.arange(1, len(ranked) + 1))
    threshold = start + widest * float(np.log(max(pairs * (1 - at) / fdr, 1.0)))
    if len(fine):
        threshold = min(threshold, float(ranked[fine[-1]]))
    recall = float((copies >= threshold).mean()) if len(copies) else None
    if recall is not None and recall < 0.5 and not len(fine):
        return Cut(np.inf, None, None, NOTHING)
    false, most = (float(expected(np.array([threshold]), width)[0]) for width in (scale, widest))
    note = f"About {false:.1f} look-alikes (at most {most:.1f}) are expected among those flagged"
    note += "." if recall is None else f"; {recall:.0%} of planted copies would be."
    return Cut(threshold, recall, false, note, most)


def selfclean(drawn: NDArray[np.float64], count: int, *, alpha: float = 0.01, q: float = 0.05) -> Cut:
    """SelfClean's automatic cut (:mod:`kintsugi.ops.logistic_cut`) on distances D = (1 - similarity) / 2 of all pairs.

    Args:
        drawn: distances of random pairs.
        count: number of samples N.
        alpha: upper bound of the contamination.
        q: significance.
    """
    if not len(drawn):
        return Cut(1.0, None, None, "Too few images for a cut: only identical vectors are flagged.")
    inside = np.clip(drawn, 0.0, 1.0)  # rounding
    distance, _ = logistic_cut(inside, alpha=alpha, q=q, samples=count, pairs=count * (count - 1) // 2)
    note = f"Flagged below distance {distance:.2g} by the logistic cut of SelfClean (alpha {alpha:g}, q {q:g})."
    return Cut(1 - 2 * distance, None, None, note)
