"""Groups that pairs make, and what labels that differ within a group cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require

if TYPE_CHECKING:
    from numpy.typing import NDArray


def components(count: int, pairs: NDArray[Any]) -> NDArray[np.int64]:
    """Connected components of ``count`` points under ``pairs``: the smallest member of each point's component.

    Args:
        count: number of points N.
        pairs: int ``[P, 2]`` of points.

    Returns:
        int64 ``[N]``; points that no pair joins are their own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    inside = not len(joined) or (joined.min() >= 0 and joined.max() < count)
    require(bool(inside), "pairs", joined.shape, f"pairs of points from 0 to {count - 1}")
    if not count:
        return np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(joined), dtype=np.int8), (joined[:, 0], joined[:, 1])), shape=(count, count))
    number = connected_components(graph, directed=False)[1]
    first = np.full(int(number.max()) + 1, count, dtype=np.int64)
    np.minimum.at(first, number, np.arange(count))
    return first[number]


@dataclass(frozen=True)
class Floor:
    """The fewest errors that a function of the group alone can make.

    Attributes:
        errors: sum over groups of the members outside the group's most frequent label.
        rate: errors / N; 0 of no samples.
        conflicting: bool ``[N]``, members of groups with more than one label.
        majority: int64 ``[N]``, the most frequent label of each one's group, -1 where two are equally frequent.
    """

    errors: int
    rate: float
    conflicting: NDArray[np.bool_]
    majority: NDArray[np.int64]


def error_floor(group: NDArray[Any], label: NDArray[Any]) -> Floor:
    """1 - (sum over groups of the majority's count) / N: members of a group are one picture to a classifier.

    Args:
        group: which group each sample is in, int ``[N]``.
        label: its label, int ``[N]``.
    """
    group, label = np.asarray(group, dtype=np.int64), np.asarray(label, dtype=np.int64)
    require(group.shape == label.shape and group.ndim == 1, "label", label.shape, f"one label for each of {len(group)}")
    if not len(group):
        return Floor(0, 0.0, np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
    cells, count = np.unique(np.stack([group, label], axis=1), axis=0, return_counts=True)
    order = np.lexsort((cells[:, 1], -count, cells[:, 0]))  # within a group the most frequent label first
    cells, count = cells[order], count[order]
    names, first, place = np.unique(cells[:, 0], return_index=True, return_inverse=True)
    kinds = np.bincount(place)
    runner = np.where(kinds > 1, count[np.minimum(first + 1, len(count) - 1)], 0)
    winner = np.where(runner == count[first], -1, cells[first, 1])
    mine = np.searchsorted(names, group)
    errors = int(len(group) - count[first].sum())
    return Floor(errors, errors / len(group), kinds[mine] > 1, winner[mine])
