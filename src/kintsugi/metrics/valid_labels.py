"""How answers fare against sets of valid labels: what metrics on several labels an image count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadArgument
from kintsugi.metrics.cells import checked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Answers against sets of valid labels, one entry an image that is not left out.

    Attributes:
        label: the original label, -1 where unknown.
        group: -1 where unknown or none was given.
        k: how many labels are correct.
        hits: how many of the k classes ranked highest are correct; unclear classes are taken out of the ranking.
        valid: whether the class ranked highest is correct or unclear, 0 or 1.
        top1: whether it is the original label, 0 or 1; -1 where that is unknown.
        problematic: images left out since nobody can say what they show.
        empty: images left out since no label is valid.
    """

    label: Ints
    group: Ints
    k: Ints
    hits: Ints
    valid: Ints
    top1: Ints
    problematic: int
    empty: int


def score_valid(
    prob: NDArray[Any],
    label: NDArray[Any],
    group: NDArray[Any] | None = None,
    correct: NDArray[Any] | None = None,
    unclear: NDArray[Any] | None = None,
    skip: NDArray[Any] | None = None,
) -> Scored:
    """Compare rankings with valid labels; equal probabilities rank in the order of the classes.

    Args:
        prob: float ``[B, K]``.
        label: original labels int ``[B]``, -1 where unknown.
        group: int ``[B]``.
        correct: bool ``[B, K]``; None for the original label alone.
        unclear: bool ``[B, K]``, labels people disagree about; None for none.
        skip: bool ``[B]``, problematic images; None for none.

    Raises:
        BadArgument: a shape is wrong, or a probability is not finite.
    """
    p, y, g = checked(prob, label, group)
    if correct is None:
        good = np.zeros(p.shape, dtype=bool)
        good[np.flatnonzero(y >= 0), y[y >= 0]] = True
    else:
        good = _flags("correct", correct, p.shape)
    doubt = np.zeros(p.shape, dtype=bool) if unclear is None else _flags("unclear", unclear, p.shape) & ~good
    bad = np.zeros(len(p), dtype=bool) if skip is None else _flags("skip", skip, p.shape[:1])
    none = ~bad & ~(good | doubt).any(axis=1)
    rows = np.flatnonzero(~bad & ~none)
    p, y, good, doubt = p[rows], y[rows], good[rows], doubt[rows]
    first = p.argmax(axis=1) if len(rows) else np.zeros(0, dtype=np.int64)
    k = good.sum(axis=1)
    ranked = np.take_along_axis(good, np.argsort(np.where(doubt, np.inf, -p), axis=1, kind="stable"), axis=1)
    hits = (ranked & (np.arange(p.shape[1]) < k[:, None])).sum(axis=1)
    at = np.arange(len(rows))
    valid = (good | doubt)[at, first] if len(rows) else np.zeros(0, dtype=bool)
    return Scored(
        label=y,
        group=np.full(len(rows), -1, dtype=np.int64) if g is None else g[rows],
        k=k.astype(np.int64),
        hits=hits.astype(np.int64),
        valid=valid.astype(np.int64),
        top1=np.where(y < 0, -1, first == y).astype(np.int64),
        problematic=int(bad.sum()),
        empty=int(none.sum()),
    )


def _flags(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    flags = np.asarray(values)
    if flags.shape != shape or flags.dtype != bool:
        raise BadArgument(f"{name} has shape {flags.shape} and dtype {flags.dtype}:", f"give bool {list(shape)}.")
    return flags
