"""Neighbours that are found once for all who look into the same vectors.

Several checks of one audit ask for the nearest others of each image by the same features, each for as many as it needs
and some without the images they leave aside. Inside :func:`sharing_neighbours` the first to ask finds more than it
needs, and the others take theirs from that. They need not know of each other: vectors are recognised by what they hold.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.ops.neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Near = tuple[NDArray[np.float32], NDArray[np.int64]]

LEAST = 40  # neighbours that are found however few were asked for
MOST = 2**30  # bytes of neighbours that are kept


class _Table:
    """What was found for each set of vectors, by their hash and how many neighbours."""

    def __init__(self) -> None:
        self._found: dict[tuple[bytes, int], Near] = {}
        self._finding: dict[tuple[bytes, int], threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, points: NDArray[np.float32], k: int) -> Near:
        shape = repr(points.shape).encode()
        name = hashlib.blake2b(points.data, digest_size=16, key=shape).digest(), max(k, LEAST)
        with self._lock:
            finding = self._finding.setdefault(name, threading.Lock())
        with finding:  # who comes second waits
            found = self._found.get(name)
            if found is None:
                found = nearest(points, name[1])
                for part in found:
                    part.flags.writeable = False  # the next to ask gets the same
                with self._lock:
                    held = sum(part.nbytes for near in (*self._found.values(), found) for part in near)
                    if held <= MOST:
                        self._found[name] = found
            return found


_table: ContextVar[_Table | None] = ContextVar("kintsugi_neighbours", default=None)


@contextmanager
def sharing_neighbours() -> Iterator[None]:
    """Inside, and in threads that run in a copy of this context, neighbours are found once. Forgotten afterwards."""
    token = _table.set(_Table())
    try:
        yield
    finally:
        _table.reset(token)


def nearest_among(points: NDArray[Any], k: int, rows: NDArray[np.int64] | None = None) -> Near:
    """The ``k`` nearest others of each point by the cosine: what ``nearest(points[rows], k)`` gives.

    Of points that lie equally far at the end of a list, other ones may be named.

    Args:
        points: float ``[N, D]``.
        k: neighbours wanted; with fewer to choose from, all of them are given.
        rows: of which points, and among which, int64 ``[R]``, each once; None for all.

    Returns:
        Distances float32 ``[R, k]``, ascending, and places in ``rows`` int64 ``[R, k]``.

    Raises:
        BadData: the points are no table, or not finite.
    """
    chosen = points if rows is None else points[rows]
    table = _table.get()
    points = np.ascontiguousarray(points, dtype=np.float32)
    if table is None or not np.isfinite(points).all():  # those of the rows may be
        return nearest(chosen, k)
    distance, near = table.of(points, k)
    if rows is None or np.array_equal(rows, np.arange(len(points))):
        return distance[:, :k], near[:, :k]
    k = min(k, len(rows) - 1)
    place = np.full(len(points), -1)
    place[rows] = np.arange(len(rows))
    distance, near = distance[rows], place[near[rows]]
    first = np.argsort(near < 0, axis=1, kind="stable")[:, : max(k, 0)]
    near = np.take_along_axis(near, first, 1)
    if k < 1 or (near < 0).any():  # too many of them were left aside
        return nearest(chosen, k=max(k, 1))
    return np.take_along_axis(distance, first, 1), near
