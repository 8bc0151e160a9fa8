"""Single-linkage dendrograms with memory linear in the points: the shortest spanning tree, then its edges in order.

The tree is Boruvka's (1926): every part but the largest takes its shortest edge outwards, until one part is left. Each
point's nearest neighbours answer most of that; a point whose neighbours all lie inside its own part is compared with
all others again, unless what is known of its neighbours rules out that its edge is the shortest. So the tree is exact
whenever the neighbours are (those of :func:`~kintsugi.ops.neighbours.nearest` below its size for an index), and no
distance matrix is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require
from kintsugi.ops.neighbours import best_of_rows, nearest, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPARE = 4  # candidates of a block product that are measured again, as in the search for neighbours


@dataclass(frozen=True)
class Dendrogram:
    """A binary tree over N points: nodes 0..N-1 are the points, node N + i is the i-th merge, lowest first.

    Attributes:
        children: int64 ``[N - 1, 2]``; of two children the one that was made first stands first.
        height: distance of each merge, float64 ``[N - 1]``, ascending.
        count: points below each node, int64 ``[2 N - 1]``.
    """

    children: NDArray[np.int64]
    height: NDArray[np.float64]
    count: NDArray[np.int64]


def single_linkage(points: NDArray[Any], *, k: int = 10, memory: int = 256) -> Dendrogram:
    """The single-linkage dendrogram of the cosine distance 1 - cos.

    Args:
        points: float ``[N, D]``, finite, one row or more.
        k: neighbours kept of each point; more cost memory and save time.
        memory: MiB that a block of distances may take.
    """
    edges, length = spanning_tree(points, k=k, memory=memory)
    total = len(edges) + 1
    root, top = [*range(total)], [*range(total)]  # of a set: its representative, and the node it is by now
    children, count = list[tuple[int, int]](), [1] * total
    for number, (a, b) in enumerate(edges.tolist()):
        left, right = _root(root, a), _root(root, b)
        one, other = top[left], top[right]
        children.append((min(one, other), max(one, other)))
        count.append(count[one] + count[other])
        root[right], top[left] = left, total + number
    return Dendrogram(np.array(children, dtype=np.int64).reshape(-1, 2), length, np.array(count, dtype=np.int64))


def spanning_tree(
    points: NDArray[Any], *, k: int = 10, memory: int = 256
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The shortest spanning tree of the cosine distance: edges int64 ``[N - 1, 2]`` and lengths, shortest first.

    Edges of one length are ordered by their ends, so that nothing depends on chance.
    """
    require(k >= 1, "k", k, "at least 1 neighbour")
    require(len(points) >= 1, "points", len(points), "at least 1 row")
    length, near = nearest(points, k, metric="cosine", memory=memory)
    vectors = unit(points)
    total = len(vectors)
    root, part = [*range(total)], np.arange(total)
    far = np.full(total, -1, dtype=np.int64)  # what a comparison with all others found, while it lies outside
    apart = np.full(total, np.inf)
    taken: list[tuple[float, int, int]] = []
    while len(taken) < total - 1:
        small = part != np.bincount(part).argmax()
        rows = np.flatnonzero(small)
        outside = part[near[rows]] != part[rows, None]
        first = outside.argmax(axis=1)
        listed = outside.any(axis=1)
        to = np.where(listed, near[rows, first], far[rows])
        reach = np.where(listed, length[rows, first], apart[rows]).astype(np.float64)
        stale = ~listed & ((to < 0) | (part[to] == part[rows]))
        reach[stale] = np.inf
        best = np.full(total, np.inf)
        np.minimum.at(best, part[rows], reach)
        again = stale & (length[rows, -1] <= best[part[rows]])  # no neighbour outside is nearer than the last one kept
        if again.any():
            asked = rows[again]
            apart[asked], far[asked] = _outside(vectors, asked, part, memory)
            to[again], reach[again] = far[asked], apart[asked]
        found = np.isfinite(reach)
        low, high = np.minimum(rows, to)[found], np.maximum(rows, to)[found]
        order = np.lexsort((high, low, reach[found], part[rows[found]]))
        mine = part[rows[found]][order]
        shortest = order[np.append(True, mine[1:] != mine[:-1])]
        edge = reach[found][shortest], low[shortest], high[shortest]
        for one, a, b in sorted(zip(*(each.tolist() for each in edge), strict=True)):
            left, right = _root(root, a), _root(root, b)
            if left != right:
                root[right] = left
                taken.append((one, a, b))
        part = np.array(root)
        while (part[part] != part).any():
            part = part[part]
    taken.sort()
    return (
        np.array([edge[1:] for edge in taken], dtype=np.int64).reshape(-1, 2),
        np.array([edge[0] for edge in taken], dtype=np.float64),
    )


def _outside(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], part: NDArray[np.int64], memory: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nearest point of another part for each of ``rows``: distances and points."""
    import torch

    apart, far = np.empty(len(rows)), np.empty(len(rows), dtype=np.int64)
    high = max(1, memory * 2**20 // (8 * len(vectors)))
    for top in range(0, len(rows), high):
        mine = rows[top : top + high]
        product = torch.from_numpy(vectors[mine] @ vectors.T)
        product.masked_fill_(torch.from_numpy(part[mine][:, None] == part[None]), -torch.inf)
        near, rows_of = best_of_rows(product, min(1 + SPARE, len(vectors)), largest=True)
        place, inside = rows_of.numpy(), near.numpy() == -np.inf
        between = vectors[mine][:, None] - vectors[place]
        exact = np.einsum("qkd,qkd->qk", between, between) / 2  # |u - v|^2 = 2 - 2 cos for unit vectors
        empty = (vectors[mine] == 0).all(axis=1)[:, None] | (vectors[place] == 0).all(axis=2)
        exact = np.where(inside, np.inf, np.where(empty, 1.0, exact))
        first = np.lexsort((place, exact), axis=1)[:, :1]
        apart[top : top + high] = np.take_along_axis(exact, first, 1)[:, 0]
        far[top : top + high] = np.take_along_axis(place, first, 1)[:, 0]
    return apart, far


def _root(root: list[int], node: int) -> int:
    """Representative of a node's set; the way there is halved."""
    while root[node] != node:
        root[node] = node = root[root[node]]
    return node
