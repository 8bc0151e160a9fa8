"""Where look-alikes end and duplicates begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 100  # candidate pairs from which the spread of look-alikes can be told
LEAST = 0.9  # similarity below which nothing is called a copy, however little plain pictures resemble their copies

NOTHING = "Look-alikes are as similar as changed copies here: beyond identical pixels only the ranking can tell."


@dataclass(frozen=True)
class Cut:
    """A threshold on the similarity of pairs.

    Attributes:
        threshold: similarity (-1..1) from which a pair is flagged.
        recall: share of planted copies at or above it; None when none could be planted.
        false: look-alikes expected at or above it; None when their spread cannot be told.
        note: how it was found, for a person.
    """

    threshold: float
    recall: float | None
    false: float | None
    note: str


def calibrated(
    similarity: NDArray[np.float64],
    look_alikes: NDArray[np.float64],
    pairs: int,
    planted: NDArray[np.float64] | None,
    fdr: float,
) -> Cut:
    """The lowest threshold that planted copies reach and that keeps the expected share of false pairs below ``fdr``.

    Look-alikes are taken as normal in Fisher's z = artanh(similarity), by their median and their 95% quantile, which
    the few true duplicates among the candidates do not move.

    Args:
        similarity: of the promising pairs.
        look_alikes: of a random sample of all candidate pairs.
        pairs: number of all candidate pairs.
        planted: of planted copies with their originals; None when the images cannot be changed.
        fdr: accepted share of false pairs among those flagged.
    """
    from scipy.stats import norm

    floor = max(float(np.quantile(planted, 0.02)), LEAST) if planted is not None and len(planted) else -1.0
    if len(look_alikes) < FEWEST:
        if planted is None or not len(planted):
            return Cut(1.0, None, None, "Too few images to tell look-alikes from duplicates: only exact ones count.")
        note = f"Flagged from {floor:.3f}, reached by 98% of planted copies; too few images to count look-alikes."
        return Cut(floor, 0.98, None, note)
    z = _fisher(look_alikes)
    centre, spread = float(np.median(z)), float(np.quantile(z, 0.95) - np.median(z)) / float(norm.ppf(0.95))
    ranked = np.sort(similarity[similarity >= floor])[::-1]
    false = pairs * norm.sf((_fisher(ranked) - centre) / max(spread, 1e-9))
    fine = np.flatnonzero(false <= fdr * np.arange(1, len(ranked) + 1))
    if not len(fine):
        threshold = max(floor, _reaching(fdr, pairs, centre, spread))
        if len(ranked):
            return Cut(threshold, None, None, NOTHING)
        return Cut(threshold, 0.98, 0.0, f"No pair is as similar as changed copies are (from {threshold:.3f}).")
    threshold = float(ranked[fine[-1]])
    expected = float(pairs * norm.sf((_fisher(np.array([threshold]))[0] - centre) / max(spread, 1e-9)))
    recall = None if planted is None or not len(planted) else float((planted >= threshold).mean())
    note = f"Flagged from {threshold:.3f}, where about {expected:.1f} look-alikes are expected"
    note += "." if recall is None else f" and {recall:.0%} of planted copies are found."
    return Cut(threshold, recall, expected, note)


def selfclean(drawn: NDArray[np.float64], count: int, *, alpha: float = 0.01, q: float = 0.05) -> Cut:
    """SelfClean's automatic cut (Groeger et al., 2024) on distances D = (1 - similarity) / 2 of all pairs.

    A logistic distribution is laid through the quantiles alpha' and sqrt(alpha' / 2) of logit D, with
    alpha' = alpha^2 for pairs; flagged is D < F^-1(q alpha' N / M) for N samples and M = N (N - 1) / 2 pairs.
    D = 0, which the published code drops before ranking, is always flagged.

    Args:
        drawn: distances of random pairs.
        count: number of samples N.
        alpha: upper bound of the contamination.
        q: significance.
    """
    if not len(drawn):
        return Cut(1.0, None, None, "Too few images for a cut: only identical vectors are flagged.")
    guess = alpha**2
    at = np.array([guess, np.sqrt(guess / 2)])
    inner = np.clip(drawn, 1e-12, 1 - 1e-12)
    low, high = np.quantile(np.log(inner / (1 - inner)), at)
    odds = np.log(at / (1 - at))
    scale = (high - low) / (odds[1] - odds[0])
    tail = q * guess * count / (count * (count - 1) / 2)
    place = low + scale * (np.log(tail / (1 - tail)) - odds[0])
    distance = 1 / (1 + np.exp(-place))
    note = f"Flagged below distance {distance:.2g} by the logistic cut of SelfClean (alpha {alpha:g}, q {q:g})."
    return Cut(float(1 - 2 * distance), None, None, note)


def _fisher(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.arctanh(np.clip(similarity, -1 + 1e-7, 1 - 1e-7))


def _reaching(fdr: float, pairs: int, centre: float, spread: float) -> float:
    """Similarity above which less than ``fdr`` look-alikes are expected in all."""
    from scipy.stats import norm

    return float(np.tanh(centre + spread * norm.isf(min(fdr / max(pairs, 1), 0.5))))
