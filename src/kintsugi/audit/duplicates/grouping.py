"""From pairs of duplicates to groups, and what groups say of a data set.

A group is named by its first row. ``greedy`` is the rule of SNIP (Webster et al., 2023): visiting the rows in order,
each gives its name to its duplicates that have no other yet, then label = label[label] until nothing moves; so each row
hangs on the first of its duplicates. ``components`` joins whatever a chain of pairs joins. Both chain distinct images
together, so :func:`capped` leaves in a group only what is near its first row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODES = ("greedy", "components")
RUN = 50_000  # pairs walked through at a time
SHOWN = 10  # splits whose pairs are counted by name


def duplicate_groups(count: int, pairs: NDArray[np.int64], mode: str = "greedy") -> NDArray[np.int64]:
    """Name of each row's group, int64 ``[count]``: its first row.

    Args:
        count: rows in all.
        pairs: of duplicates, int64 ``[P, 2]``, in any order.
        mode: ``greedy`` or ``components``.
    """
    first, second = np.sort(pairs.reshape(-1, 2), axis=1).T
    if mode == "components":
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
        number = connected_components(edges, directed=False)[1]
        name = np.full(int(number.max()) + 1 if count else 0, count, np.int64)
        np.minimum.at(name, number, np.arange(count))
        return name[number]
    label = np.arange(count)
    np.minimum.at(label, second, first)
    while (label[label] != label).any():
        label = label[label]
    return label


def unique_pairs(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each pair once, the lower row first, in order, and where each was met first."""
    wide = int(pairs.max()) + 1 if len(pairs) else 1
    code, first = np.unique(coded(pairs, wide), return_index=True)
    return decoded(code, wide), first


def coded(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """One number a pair of rows below ``count``, ordered as pairs with the lower row first are."""
    return pairs.min(axis=1, initial=count) * count + pairs.max(axis=1, initial=0)


def decoded(code: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The pairs that numbers stand for, ``[P, 2]``."""
    pairs = np.empty((len(code), 2), np.int64)
    np.divmod(code, count, out=(pairs[:, 0], pairs[:, 1]))
    return pairs


def capped(
    label: NDArray[np.int64], pairs: NDArray[np.int64], near: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """Groups in which every row is near the first one.

    Rows that are not leave their group; among them each that is still free takes the free ones it has a pair with, in
    order, so that each row is named after one that it is known to be near.

    Args:
        label: names of groups, by :func:`duplicate_groups`.
        pairs: the duplicates they were made of, each of them near; as :func:`unique_pairs` gives them.
        near: tells of rows ``[M, 2]`` whether the two are near enough.
    """
    label, count = label.copy(), len(label)
    rows = np.flatnonzero(label != np.arange(count))
    doubtful = rows[~listed(np.stack([label[rows], rows], axis=1), pairs, count)]
    if not len(doubtful):
        return label
    left = doubtful[~near(np.stack([label[doubtful], doubtful], axis=1))]
    label[left] = left
    free = np.zeros(count, bool)
    free[left] = True
    for top in range(0, len(pairs), RUN):
        part = pairs[top : top + RUN]
        for a, b in part[free[part].all(axis=1)].tolist():
            if free[a] and free[b]:
                label[b] = a
                free[b] = False
    return label


def listed(asked: NDArray[np.int64], pairs: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which of the pairs ``asked`` are among ``pairs``, which :func:`unique_pairs` has put in order."""
    code = coded(pairs, count)
    if not len(code):
        return np.zeros(len(asked), bool)
    wanted = coded(asked, count)
    return code[np.minimum(np.searchsorted(code, wanted), len(code) - 1)] == wanted


def report(label: NDArray[np.int64], split: NDArray[Any] | None = None) -> dict[str, Any]:
    """What groups say in all.

    Returns:
        ``unique`` (groups, single images too), ``duplicates`` (rows less groups), ``sizes`` (groups by size), and, with
        ``split``, ``leaks``: groups by the splits they stand in, where there are several, such as ``test+train``.
    """
    size = np.bincount(label, minlength=len(label))
    found: dict[str, Any] = {
        "unique": int((size > 0).sum()),
        "duplicates": len(label) - int((size > 0).sum()),
        "sizes": {int(s): int(n) for s, n in zip(*np.unique(size[size > 0], return_counts=True), strict=True)},
    }
    if split is not None:
        places: dict[int, set[str]] = {}
        for row in np.flatnonzero(size[label] > 1):
            places.setdefault(int(label[row]), set()).add(str(split[row]))
        counted = Counter("+".join(sorted(names)) for names in places.values() if len(names) > 1)
        found["leaks"] = dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:SHOWN])
    return found


def nearest_of_each(
    rows: NDArray[np.int64], cosine: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """The ``k`` nearest pairs of each row, and the rows that had more."""
    order = np.lexsort((rows[:, 1], -cosine, rows[:, 0]))
    rows, cosine = rows[order], cosine[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows[:, 0], rows[:, 0])
    return rows[rank < k], cosine[rank < k], rows[rank == k, 0]
