"""What the group metrics count: samples and right answers of every (label, group) pair. Counts merge exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadArgument, BadData, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


def checked(
    prob: NDArray[Any], label: NDArray[Any], group: NDArray[Any] | None
) -> tuple[NDArray[np.float64], Ints, Ints | None]:
    """The arguments of a metric's ``update`` as arrays of the right kind.

    Raises:
        BadArgument: a shape or dtype is wrong, or a probability is not finite.
    """
    p, y = np.asarray(prob, dtype=np.float64), np.asarray(label)
    if p.ndim != 2 or not np.isfinite(p).all():
        raise BadArgument(f"prob has shape {p.shape} or is not finite:", "give finite probabilities [B, K].")
    for name, values in (("label", y), ("group", None if group is None else np.asarray(group))):
        if values is not None and (values.shape != p.shape[:1] or (len(values) and values.dtype.kind not in "iu")):
            raise BadArgument(
                f"{name} has shape {values.shape} and dtype {values.dtype} for {len(p)} samples:",
                "give one whole number a sample.",
            )
    if len(y) and not -1 <= y.min() <= y.max() < p.shape[1]:
        raise BadArgument(f"label reaches from {y.min()} to {y.max()}:", f"give classes from -1 to {p.shape[1] - 1}.")
    return p, y.astype(np.int64), None if group is None else np.asarray(group).astype(np.int64)


class Cells:
    """Samples and right answers of every (label, group) pair.

    Attributes:
        unlabelled: samples of unknown label, which count nowhere else.
        unknown: samples of known label and unknown group, and how many of them are right.
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], tuple[int, int]] = {}
        self.unlabelled = 0
        self.unknown = (0, 0)

    def update(self, prob: NDArray[Any], label: NDArray[Any], group: NDArray[Any] | None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]`` and groups ``[B]``, both -1 where unknown."""
        p, y, g = checked(prob, label, group)
        if g is None:
            raise BadArgument("group=None is not allowed here:", "give each sample's group, -1 where unknown.")
        known = y >= 0
        self.unlabelled += int((~known).sum())
        right = p.argmax(axis=1)[known] == y[known] if p.size else np.zeros(0, dtype=bool)
        pairs, member = np.unique(np.stack([y[known], g[known]], axis=1), axis=0, return_inverse=True)
        total = np.bincount(member.ravel(), minlength=len(pairs))
        hits = np.bincount(member.ravel(), weights=right, minlength=len(pairs))
        for (k, a), n, h in zip(pairs.tolist(), total.tolist(), hits.tolist(), strict=True):
            self._add(k, a, n, int(h))

    def _add(self, label: int, group: int, total: int, right: int) -> None:
        if group < 0:
            self.unknown = (self.unknown[0] + total, self.unknown[1] + right)
            return
        n, h = self._cells.get((label, group), (0, 0))
        self._cells[label, group] = (n + total, h + right)

    def merge(self, other: Cells) -> None:
        """Add another's counts."""
        self.unlabelled += other.unlabelled
        self.unknown = (self.unknown[0] + other.unknown[0], self.unknown[1] + other.unknown[1])
        for (k, g), (n, h) in other._cells.items():
            self._add(k, g, n, h)

    def table(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Label, group, samples and right answers of every pair that occurs, sorted, int64 ``[P]`` each.

        Raises:
            BadData: there is none.
        """
        if not self._cells:
            raise BadData("No sample with a known label and group was added:", "a group metric needs some.")
        rows = np.array([(k, g, n, h) for (k, g), (n, h) in sorted(self._cells.items())], dtype=np.int64)
        return rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]


def training_counts(train: Sequence[Sequence[int]] | None) -> Ints | None:
    """Training samples of each class and group, int64 ``[K, G]``, checked.

    Raises:
        BadArgument: not a table of counts.
    """
    if train is None:
        return None
    table = np.asarray(train)
    ok = table.ndim == 2 and table.dtype.kind in "iu" and bool((table >= 0).all()) and table.sum() > 0
    require(ok, "train", train, "counts from 0, one row a class and one column a group")
    return table.astype(np.int64)


def estimate(value: float, interval: tuple[float, float], rule: str, **more: Any) -> dict[str, Any]:
    """One number with its 95% interval and its averaging rule: the form of every metric's answer."""
    return {"value": float(value), "interval": (float(interval[0]), float(interval[1])), "rule": rule, **more}


def check_draws(draws: int, seed: int) -> None:
    """Refuse what the intervals cannot be drawn with."""
    require(isinstance(draws, int) and draws >= 100, "draws", draws, "a whole number from 100")
    require(isinstance(seed, int) and seed >= 0, "seed", seed, "a whole number from 0")
