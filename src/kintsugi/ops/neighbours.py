"""Nearest neighbours with bounded memory: exact in blocks, or by a faiss index where the set is large.

Candidates are found by one matrix product a block, which loses digits where points nearly coincide; the distances of
those kept are therefore computed again from differences, so that near duplicates are ranked by what is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.optional import available, need
from kintsugi.core.side_by_side import free_cores, on_all_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("cosine", "l2")
ENGINES = ("auto", "exact", "faiss")
SPARE = 4  # candidates kept beyond k, so that rounding in the matrix product loses none
TALL = 128  # rows of a block where columns are many: enough for products to be fast
FLOATS = 2**20  # distances that a core's block holds at least
CACHED = 2**18  # numbers that a core's cache holds
FEW = 40  # columns for each of the best from which these are picked in groups
GROUP = 0.6  # size of a group, of the root of columns for each of the best: there it took least, 500 to 60,000 columns
LARGE = 200_000  # rows from which `auto` takes a faiss index, when faiss is there


def nearest(
    base: NDArray[Any],
    k: int,
    query: NDArray[Any] | None = None,
    *,
    metric: str = "cosine",
    engine: str = "auto",
    memory: int = 32,
    device: str = "cpu",
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ``k`` nearest rows of ``base`` for each row of ``query``.

    Args:
        base: float ``[N, D]``.
        k: neighbours wanted; with fewer rows to choose from, all of them are given.
        query: float ``[Q, D]``; None asks for the neighbours of ``base`` among itself, each row left out of its own.
        metric: ``cosine`` (1 - cosine, 0..2; the zero vector is at distance 1 of all others) or ``l2``.
        engine: ``exact``, ``faiss`` (an inverted-file index: approximate, sublinear), or ``auto``, which takes faiss
            from 200,000 rows on if it is installed.
        memory: MiB that blocks of the distance matrix may take together (or 4 a core, where that is more).
        device: where the exact search multiplies.

    Returns:
        Distances float32 ``[Q, k]``, ascending, and rows int64 ``[Q, k]``.

    Raises:
        BadData: the shapes do not fit, or a value is not finite.
        MissingDependency: ``faiss`` was asked for and is not installed.
    """
    one_of("metric", metric, METRICS)
    one_of("engine", engine, ENGINES)
    require(k >= 1, "k", k, "a whole number of at least 1")
    require(memory >= 1, "memory", memory, "at least 1 MiB")
    points = checked("base", base)
    asked = points if query is None else checked("query", query)
    if asked.shape[1] != points.shape[1]:
        raise BadData(f"query has {asked.shape[1]} columns and base {points.shape[1]}:", "embed both the same way.")
    if metric == "cosine":
        asked, points = unit(asked), (unit(points) if query is not None else unit(asked))
    k = min(k, len(points) - (query is None))
    if k < 1 or not len(asked):
        return np.zeros((len(asked), max(k, 0)), np.float32), np.zeros((len(asked), max(k, 0)), np.int64)
    kept = min(k + SPARE, len(points) - (query is None))
    if engine == "faiss" or (engine == "auto" and len(points) >= LARGE and available("faiss")):
        rows = _indexed(points, asked, kept, query is None)
    else:
        rows = _exact(points, asked, kept, query is None, memory, device)
    distance, rows = _ranked(points, asked, rows, metric)
    return distance[:, :k], rows[:, :k]


def unit(points: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to length 1, float32 ``[N, D]``; the zero vector stays."""
    points = np.asarray(points, dtype=np.float32)
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(length > 0, length, 1), dtype=np.float32)


def pair_cosine(
    vectors: NDArray[np.float32], pairs: NDArray[np.int64], other: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Cosine of pairs of rows ``[P, 2]`` of unit vectors (the second of ``other``), exact for near ones:
    1 - |u - v|^2 / 2.
    """
    second = vectors if other is None else other
    step = max(1, CACHED // max(1, vectors.shape[1]))

    def part(top: int) -> NDArray[np.float64]:
        left, right = pairs[top : top + step].T
        apart = vectors[left] - second[right]
        return np.asarray(1 - np.einsum("pd,pd->p", apart, apart).astype(np.float64) / 2)

    tops = range(0, len(pairs), step)
    return np.concatenate([np.zeros(0), *(map(part, tops) if len(tops) < 2 else on_all_cores(part, tops))])


def checked(name: str, points: NDArray[Any]) -> NDArray[np.float32]:
    """Finite float32 ``[N, D]``, or an error that calls them ``name``."""
    points = np.ascontiguousarray(points, dtype=np.float32)
    if points.ndim != 2:
        raise BadData(f"{name} has shape {points.shape}:", "give one row of numbers a sample.")
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise BadData(f"{name} is not finite in {bad.sum()} rows, first {np.flatnonzero(bad)[0]}:", "leave them out.")
    return points


def _exact(
    points: NDArray[np.float32], asked: NDArray[np.float32], k: int, alone: bool, memory: int, device: str
) -> NDArray[np.int64]:
    """Rows of the ``k`` smallest |q - b|^2 = |q|^2 - 2 q.b + |b|^2, block by block; -1 nowhere."""
    import torch

    centre = points.mean(axis=0)  # differences do not care, and small numbers cancel less
    points, asked = points - centre, asked - centre
    threads = free_cores() if device == "cpu" else 1
    room = max(memory * 2**20 // (4 * threads), FLOATS)
    wide = min(len(points), max(k + 1, room // min(len(asked), TALL)))
    high = max(1, min(len(asked), room // wide))
    base = torch.from_numpy(points).to(device)
    square = (base * base).sum(1)

    def block(top: int) -> NDArray[np.int64]:
        part = torch.from_numpy(asked[top : top + high]).to(device)
        best = part.new_full((len(part), 0), 0.0)
        rows = torch.empty((len(part), 0), dtype=torch.int64, device=device)
        for left in range(0, len(points), wide):
            near = torch.addmm(square[left : left + wide], part, base[left : left + wide].T, alpha=-2)
            if alone and -len(part) < top - left < near.shape[1]:
                near.diagonal(top - left).fill_(torch.inf)
            near, place = best_of_rows(near, min(k, near.shape[1]), largest=False)
            best, rows = torch.cat([best, near], 1), torch.cat([rows, place + left], 1)
            if best.shape[1] > k:
                best, order = best.topk(k, dim=1, largest=False)
                rows = rows.gather(1, order)
        return np.asarray(rows.cpu().numpy())

    tops = range(0, len(asked), high)
    if min(threads, len(tops)) == 1:  # the cores go to the products
        return np.concatenate([*map(block, tops)])
    return np.concatenate([*on_all_cores(block, tops, most=threads)])


def best_of_rows(values: Any, k: int, *, largest: bool) -> tuple[Any, Any]:
    """The ``k`` largest or smallest of each row of a torch tensor ``[B, N]``, in order, and their places.

    They lie in the k groups whose own best are best. To find the best of every group is one pass that vectorises, which
    picking the best k of a long row is not.
    """
    import torch

    count = values.shape[1]
    if count < FEW * k:
        return values.topk(k, dim=1, largest=largest)
    high = int(GROUP * (count / k) ** 0.5)
    wide = count // high
    grouped = values[:, : wide * high].unflatten(1, (high, wide))  # column j stands for j, j + wide, ...
    groups = (grouped.amax(1) if largest else grouped.amin(1)).topk(k, dim=1, largest=largest, sorted=False)[1]
    places = (groups[:, None] + wide * torch.arange(high, device=values.device)[:, None]).flatten(1)
    rest = torch.arange(wide * high, count, device=values.device).expand(len(values), -1)
    places = torch.cat([places, rest], 1)
    near, first = values.gather(1, places).topk(k, dim=1, largest=largest)
    return near, places.gather(1, first)


def _indexed(points: NDArray[np.float32], asked: NDArray[np.float32], k: int, alone: bool) -> NDArray[np.int64]:
    faiss: Any = need("faiss", "audit")
    cells = max(1, min(65_536, round(4 * len(points) ** 0.5), len(points) // 39))  # faiss wants 39 points a cell
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], cells)
    index.cp.seed = 0
    index.train(points)
    index.add(points)
    index.nprobe = min(cells, max(8, cells // 64))
    _, rows = index.search(asked, k + alone)
    short = np.flatnonzero((rows < 0).any(axis=1))  # cells probed held too few points: look into all of them
    if len(short):
        index.nprobe = cells
        rows[short] = index.search(asked[short], k + alone)[1]
    if not alone:
        return np.asarray(rows, dtype=np.int64)
    own = rows == np.arange(len(asked))[:, None]
    own[~own.any(axis=1), -1] = True  # the point itself was crowded out by its copies
    return np.asarray(rows[~own].reshape(len(asked), k), dtype=np.int64)


def _ranked(
    points: NDArray[np.float32], asked: NDArray[np.float32], rows: NDArray[np.int64], metric: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    exact = np.empty(rows.shape, dtype=np.float32)
    step = max(1, CACHED // (rows.shape[1] * points.shape[1]))
    for top in range(0, len(asked), step):
        part = slice(top, top + step)
        apart = asked[part, None, :] - points[rows[part]]
        exact[part] = np.einsum("qkd,qkd->qk", apart, apart)
    if metric == "cosine":  # |u - v|^2 = 2 - 2 cos for unit vectors
        empty = [(each == 0).all(axis=1) for each in (asked, points)]
        zero = empty[0][:, None] | empty[1][rows]
        exact = np.where(zero, np.float32(1), exact / 2)
    else:
        exact = np.sqrt(exact)
    order = np.lexsort((rows, exact), axis=1)
    return np.take_along_axis(exact, order, 1), np.take_along_axis(rows, order, 1)
