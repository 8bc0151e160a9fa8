"""The array part of confident learning: thresholds, the confident joint, which labels are flagged, and their scores.

Probabilities are read where they are, in blocks of rows and in their own precision, by as many threads as there are
cores: beside them a few numbers a sample are held. The joint is kept as its cells that are not 0, at most one a sample
and one a class, so ten thousand classes cost no square. Equations are those of
:mod:`kintsugi.audit.labels.confident_learning`. Of equal values the first in the data counts, whatever the threads do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.side_by_side import cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Whole = NDArray[np.int64]

METHODS = ("pbnr", "pbc", "c+nr", "confusion", "lowest", "argmax")
RANKS = ("self_confidence", "normalised_margin")
COLLISIONS = ("confident", "argmax")
EQUAL = 1e-6  # probabilities nearer than this are equal: single precision tells no more
_BLOCK = 1_000_000  # probabilities a thread looks at together


@dataclass(frozen=True)
class Joint:
    """Counts by given and confident class: cells that are not 0, sorted by row, then column.

    Attributes:
        row: given class, int64 ``[M]``.
        column: confident class, int64 ``[M]``.
        count: int64 ``[M]``, on the diagonal at least 1.
        size: samples of each given class, int64 ``[K]``.
    """

    row: Whole
    column: Whole
    count: Whole
    size: Whole

    @classmethod
    def counted(cls, given: Whole, at: Whole, size: Whole) -> Joint:
        """Count pairs of given and confident class; every diagonal cell is at least 1."""
        classes = len(size)
        cell, count = np.unique(given * classes + at, return_counts=True)
        missing = np.setdiff1d(np.arange(classes) * (classes + 1), cell, assume_unique=True)
        cell, count = np.append(cell, missing), np.append(count, np.ones_like(missing))
        order = np.argsort(cell)
        return cls(cell[order] // classes, cell[order] % classes, count[order].astype(np.int64), size)

    @classmethod
    def of(cls, dense: Whole, size: Whole) -> Joint:
        """The cells of a matrix ``[K, K]``."""
        row, column = np.nonzero(dense)
        return cls(row, column, dense[row, column].astype(np.int64), size)

    def dense(self) -> Whole:
        """The matrix ``[K, K]``."""
        made = np.zeros((len(self.size),) * 2, dtype=np.int64)
        made[self.row, self.column] = self.count
        return made

    def calibrated(self) -> Joint:
        """Rows scaled to the class counts, in whole numbers: each row's rounding is by largest remainders."""
        total = np.bincount(self.row, weights=self.count, minlength=len(self.size))
        exact = self.count * self.size[self.row] / np.maximum(total[self.row], 1)
        whole = np.floor(exact + 1e-9).astype(np.int64)
        lack = self.size - np.bincount(self.row, weights=whole, minlength=len(self.size)).astype(np.int64)
        order = np.lexsort((self.column, whole - exact, self.row))
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) - np.searchsorted(self.row, self.row)  # order of a cell within its row
        return Joint(self.row, self.column, whole + (place < lack[self.row]), self.size)

    def wrong_share(self) -> float:
        """1 - trace of the calibrated joint's shares, before rounding."""
        total = np.bincount(self.row, weights=self.count, minlength=len(self.size))
        right = np.bincount(self.row, weights=self.count * (self.row == self.column), minlength=len(self.size))
        share = 1 - right / np.maximum(total, 1)
        return float((self.size * share).sum() / max(1, int(self.size.sum())))


@dataclass(frozen=True)
class Scan:
    """What one pass over the probabilities tells of each sample.

    Attributes:
        own: probability of the label ``[N]``, in the probabilities' precision.
        guess: most probable class, int64 ``[N]``.
        suspect: whether it is more probable than the label, bool ``[N]``.
        sure: whether it reaches its threshold, bool ``[N]``.
        at: the confident class, -1 where there is none, int64 ``[N]``.
        size: samples of each class, int64 ``[K]``.
    """

    own: NDArray[Any]
    guess: Whole
    suspect: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    at: Whole
    size: Whole

    def joint(self, label: Whole) -> Joint:
        """The confident joint, not calibrated."""
        counted = self.at >= 0
        return Joint.counted(label[counted], self.at[counted], self.size)


def scan(label: Whole, prob: NDArray[Any], collision: str = "confident", *, closely: bool = True) -> Scan:
    """Thresholds t_j, then each sample's most probable and confident class.

    Args:
        label: given labels, int ``[N]`` in 0..K-1.
        prob: held-out probabilities, float ``[N, K]``.
        collision: of several confident classes, the most probable of them (``confident``, the paper's rule), or the
            most probable class of all, confident or not (``argmax``, cleanlab's).
        closely: whether to look for a confident class where the most probable one is not; without, ``at`` is -1 there.
    """
    one_of("collision", collision, COLLISIONS)
    n, classes = prob.shape
    size = np.bincount(label, minlength=classes)
    own = prob[np.arange(n), label]
    total = np.bincount(label, weights=own, minlength=classes)
    # A class nobody has is never counted; the mean of equal numbers must not exceed them.
    threshold = np.where(size > 0, total / np.maximum(size, 1) - EQUAL, np.inf).astype(own.dtype)
    guess, at = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    suspect, sure = np.empty(n, dtype=bool), np.empty(n, dtype=bool)

    def look(part: slice) -> None:
        block = prob[part]
        best = guess[part] = block.argmax(axis=1)
        top = block[np.arange(len(block)), best]
        suspect[part] = own[part] + own.dtype.type(EQUAL) < top
        sure[part] = top >= threshold[best]
        at[part] = np.where(sure[part], best, -1)
        if not closely:
            return
        # Rows whose most probable class is none of their confident ones: few, so only they are looked at closely.
        rest = np.flatnonzero((block >= threshold).any(axis=1) & ~sure[part])
        if len(rest):
            able = block[rest] >= threshold
            other = np.where(able, block[rest], -1).argmax(axis=1)
            at[part][rest] = np.where(able.sum(axis=1) > 1, best[rest], other) if collision == "argmax" else other

    _each(look, _blocks(n, classes))
    return Scan(own, guess, suspect, sure, at, size)


def confident_joint(label: Whole, prob: NDArray[Any], collision: str = "confident") -> Whole:
    """Counts ``[K, K]`` by given label and confident class, not calibrated, diagonal at least 1."""
    return scan(label, prob, collision).joint(label).dense()


def calibrate(joint: Whole, size: Whole) -> Whole:
    """The joint ``[K, K]`` with rows summing to the class counts ``size [K]``, in whole numbers."""
    return Joint.of(joint, size).calibrated().dense()


def find_label_issues(
    label: Whole,
    prob: NDArray[Any],
    method: str = "pbnr",
    *,
    rank: str = "self_confidence",
    collision: str = "confident",
    seen: Scan | None = None,
) -> NDArray[np.bool_]:
    """Which labels are flagged, bool ``[N]``.

    Args:
        label: given labels, int ``[N]`` in 0..K-1.
        prob: held-out probabilities, float ``[N, K]``.
        method: one of :data:`METHODS`.
        rank: what ``lowest`` goes by, one of :data:`RANKS`.
        collision: see :func:`scan`.
        seen: the scan of these arrays, if it has been made.
    """
    one_of("method", method, METHODS)
    if not len(label):
        return np.zeros(0, dtype=bool)
    seen = seen or scan(label, prob, collision, closely=method not in ("lowest", "argmax"))
    if method == "argmax":
        return seen.suspect
    if method == "confusion":
        return seen.suspect & (seen.at >= 0) & (seen.at != label)
    flagged = np.zeros(len(label), dtype=bool)
    if method == "lowest":
        # Nearest whole label first: as many as have a most probable class that is confident and not the label.
        score = -seen.own if rank == "self_confidence" else label_score(label, prob, rank)
        worst = _highest(score, int((seen.sure & (seen.guess != label)).sum()))
        flagged[worst] = True
        return flagged & seen.suspect
    joint = seen.joint(label).calibrated()
    order = np.argsort(label, kind="stable")
    ends = np.cumsum(seen.size)
    if method == "c+nr":
        by_class = _prune_by_class(joint, order, ends, seen)
        return by_class & _prune_by_noise_rate(joint, prob, order, ends, seen)
    if method == "pbc":
        return _prune_by_class(joint, order, ends, seen)
    return _prune_by_noise_rate(joint, prob, order, ends, seen)


def _prune_by_class(joint: Joint, order: Whole, ends: Whole, seen: Scan) -> NDArray[np.bool_]:
    flagged = np.zeros(len(order), dtype=bool)
    wrong = seen.size.copy()
    on = joint.row == joint.column
    wrong[joint.row[on]] -= joint.count[on]
    for k in np.flatnonzero(wrong > 0):
        mine = order[ends[k] - seen.size[k] : ends[k]]
        flagged[mine[_highest(-seen.own[mine], int(wrong[k]))]] = True
    return flagged & seen.suspect


def _prune_by_noise_rate(joint: Joint, prob: NDArray[Any], order: Whole, ends: Whole, seen: Scan) -> NDArray[np.bool_]:
    flagged = np.zeros(len(order), dtype=bool)
    first = np.searchsorted(joint.row, np.arange(len(seen.size) + 1))

    def prune(k: int) -> None:
        cells = np.arange(first[k], first[k + 1])
        cells = cells[(joint.count[cells] > 0) & (joint.column[cells] != k)]
        if not len(cells):
            return
        mine = order[ends[k] - seen.size[k] : ends[k]]
        able = mine[seen.suspect[mine]]
        step = max(1, _BLOCK // max(1, len(able)))
        for some in (cells[start : start + step] for start in range(0, len(cells), step)):
            count = joint.count[some]
            margin = np.ascontiguousarray(prob[able][:, joint.column[some]].T) - seen.own[able]
            most = min(int(count.max()), len(able))
            highest = np.sort(np.partition(margin, len(able) - most, axis=1)[:, len(able) - most :], axis=1)[:, ::-1]
            least = highest[np.arange(len(some)), np.minimum(count, most) - 1] if most else np.zeros(len(some))
            above = margin >= least[:, None]
            # Others than suspects have no margin to speak of: they matter only where suspects run out.
            short = (count > len(able)) | (least <= EQUAL)
            equal = ~short & (above.sum(axis=1) != count)
            flagged[able[above[~short & ~equal].any(axis=0)]] = True
            for cell in np.flatnonzero(equal):
                flagged[able[_highest(margin[cell], int(count[cell]))]] = True
            for cell in np.flatnonzero(short):
                whole = prob[mine, joint.column[some[cell]]] - seen.own[mine]
                flagged[mine[_highest(whole, int(count[cell]))]] = True

    _each(prune, np.unique(joint.row).tolist())
    return flagged & seen.suspect


def label_score(label: Whole, prob: NDArray[Any], rank: str = "self_confidence") -> NDArray[Any]:
    """How wrong each label looks, float ``[N]`` in 0..1.

    1 - p of the label, or (1 - margin) / 2 for the margin between the label and the best other class.
    """
    one_of("rank", rank, RANKS)
    own = prob[np.arange(len(label)), label]
    if rank == "self_confidence":
        return np.clip(1 - own, 0.0, 1.0)
    score = np.empty_like(own)

    def look(part: slice) -> None:
        other = prob[part].copy()
        other[np.arange(len(other)), label[part]] = -np.inf
        score[part] = (1 - (own[part] - other.max(axis=1, initial=-np.inf))) / 2

    _each(look, _blocks(*prob.shape))
    return np.clip(score, 0.0, 1.0)


def _highest(value: NDArray[Any], count: int) -> Whole:
    """Rows of the ``count`` highest values; of equal ones the first."""
    if count >= len(value):
        return np.arange(len(value))
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(value, len(value) - count)[len(value) - count]
    above = np.flatnonzero(value > least)
    return np.concatenate((above, np.flatnonzero(value == least)[: count - len(above)]))


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _each(work: Callable[[Any], None], parts: Any) -> None:
    """Do all parts, on all cores; what they write does not overlap."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, parts):
            pass
