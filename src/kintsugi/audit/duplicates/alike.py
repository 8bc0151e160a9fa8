"""Pairs of pictures that are worth a look, and by how much they are more alike than look-alikes are.

What two pictures have in common (correlations h of edges and r of bands, see :mod:`kintsugi.audit.duplicates.picture`)
says little by itself: a plane on a blue sky has hundreds as alike as that, a market scene has none. So the nearest
pictures that are too many to be copies, ranks 6 to 20, set the level of each picture, and of a pair counts

    t = artanh(h) + artanh(r) / 2 - (l_a + l_b) / 2,   l = 1.5 x mean artanh(cosine of descriptors of ranks 6..20).  (1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from kintsugi.audit.duplicates import picture
from kintsugi.audit.duplicates.cut import tail
from kintsugi.audit.duplicates.grouping import coded, decoded, unique_pairs
from kintsugi.core.optional import available
from kintsugi.core.progress import task
from kintsugi.core.side_by_side import on_all_cores
from kintsugi.ops.neighbours import LARGE, best_of_rows, nearest, pair_cosine, unit
from kintsugi.ops.shared_neighbours import nearest_among

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST, LAST = 5, 20  # neighbours between which look-alikes are taken to lie
BANDS = 0.5  # weight of the bands beside the edges
LEVEL = 1.5  # weights of edges and bands together
WIDE = 0.5  # weight of the level in an encoder's space
HIGHEST = 0.95  # quantile at which levels are cut: where copies are many, they are no look-alikes of each other
CHUNK = 128  # pairs laid on each other at a time
STEPS = 8  # by which they are
TAIL = 0.8  # quantile at which look-alikes' tail begins: where a third of images are copies, 5% of pairs are
PARTS, LEAST = 8, 1000  # in which the promising pairs are looked at, and how many one holds at least
YIELD, FAR = 0.02, 6.0  # share of a part that must lie so many scales beyond the tail of look-alikes to go on
MANY, CONDENSED = 4000, 96  # pictures from which halves of descriptors are condensed, and to how many numbers
ROOM = 2**23  # cosines held at a time by each core


def fisher(correlation: NDArray[np.floating]) -> NDArray[np.float64]:
    """artanh, finite for equal vectors."""
    return np.arctanh(np.clip(np.asarray(correlation, dtype=np.float64), -1 + 1e-7, 1 - 1e-7))


def level(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    """How alike its look-alikes are to each vector, float ``[N]``.

    Args:
        distance: cosine distances of each one's nearest others, in any order ``[N, K]``.
    """
    if not distance.size:
        return np.zeros(len(distance))
    near = fisher(1 - np.sort(distance, axis=1)[:, min(FIRST, distance.shape[1] // 4) : LAST]).mean(axis=1)
    return np.minimum(near, np.quantile(near, HIGHEST))


class Neighbourhood:
    """The candidate pairs among pictures.

    Args:
        small: uint8 ``[N, 32, 32, 3]``.
        k: neighbours of each picture that are candidates, in each space and way.
        vectors: of an encoder, of these pictures and of others ``[R, D]``, or None.
        turned: of the pictures turned by one right angle, and by two ``[R, 0..2, D]``.
        rows: which of the vectors are of these pictures, int64 ``[N]``.

    Attributes:
        described: descriptors of the pictures ``[N, 704]``.
        pairs: ``(row, row, one mirrored)`` int64 ``[P, 3]``.
        first: t of equation 1 by the descriptors alone ``[P]``.
        level: of each picture, l of equation 1 ``[N]``.
        encoded: artanh(cosine of vectors, at the best turn) less half their level ``[P]``; None without vectors.
        upright: cosine of the vectors of both pictures as they are ``[P]``; None without vectors.
    """

    def __init__(
        self,
        small: NDArray[np.uint8],
        k: int,
        vectors: NDArray[np.float32] | None,
        turned: NDArray[np.float16],
        rows: NDArray[np.int64],
    ) -> None:
        self.described = plain = picture.descriptor(small)
        mirror = picture.mirrored(plain)
        near = _both_ways(plain, mirror, max(k, LAST))
        own = near[1][1] == np.arange(len(small))[:, None]  # a symmetric picture is its own mirror image
        levels = level(np.concatenate([near[0][0], np.where(own, 2.0, near[1][0])], axis=1))
        made = [_with_way(neighbour_pairs(rows[:, : k + way]), way) for way, (_, rows) in enumerate(near)]
        views: list[NDArray[np.float32]] = []
        if vectors is not None:
            views = [unit(vectors[rows]), *(unit(turned[rows, way]) for way in range(turned.shape[1]))]
            seen = nearest_among(vectors, max(k, LAST), rows)
            self._level = WIDE * level(seen[0])
            found = [seen[1], *(nearest(views[0], k, view)[1] for view in views[1:])]
            met = unique_pairs(np.concatenate([neighbour_pairs(rows[:, :k]) for rows in found]))[0]
            ways = np.stack([pair_cosine(plain, met), pair_cosine(plain, met, mirror)])
            made.append(np.concatenate([met, ways.argmax(axis=0)[:, None]], axis=1))
        every = np.concatenate(made)
        code = np.unique(2 * coded(every[:, :2], len(small)) + every[:, 2])
        self.pairs = np.concatenate([decoded(code // 2, len(small)), code[:, None] % 2], axis=1)
        flat, first = self.pairs[:, :2], np.empty(len(self.pairs))
        for way, other in enumerate((plain, mirror)):
            these = self.pairs[:, 2] == way
            first[these] = pair_cosine(plain, flat[these], other)
        self.first = fisher(first) - levels[flat].mean(axis=1)
        self.level = LEVEL * levels
        self.encoded = self.upright = None
        if views:
            self.upright = pair_cosine(views[0], flat)
            best = np.max([self.upright, *(_either(views[0], flat, view) for view in views[1:])], axis=0)
            self.encoded = fisher(best) - self._level[flat].mean(axis=1)

    def beyond(self, cosines: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What :attr:`encoded` is for copies of the pictures at ``rows``, by the cosine of each with its original."""
        return fisher(cosines) - self._level[rows]


def _both_ways(
    plain: NDArray[np.float32], mirror: NDArray[np.float32], k: int
) -> list[tuple[NDArray[np.floating], NDArray[np.int64]]]:
    """Cosine distances and rows of the ``k`` nearest others of each picture, and of the ``k + 1`` nearest mirrored.

    With e and o the halves of a descriptor that stay and turn round when its picture is mirrored, e e' + o o' is the
    cosine of two pictures and e e' - o o' that with one mirrored: both for the price of one.
    """
    count = len(plain)
    if count < 2 or (count >= LARGE and available("faiss")):
        return [nearest(plain, k), nearest(plain, k + 1, mirror)]
    even, odd = (_condensed(torch.from_numpy(half)) for half in picture.halves(plain))
    high = max(1, ROOM // count)

    def block(top: int) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        stays = even[top : top + high] @ even.T
        upright = torch.addmm(stays, odd[top : top + high], odd.T)
        turned = torch.lerp(upright, stays, 2, out=stays)  # 2 e e' less the first
        upright.diagonal(top).fill_(-torch.inf)
        ways = (upright, min(k, count - 1)), (turned, min(k + 1, count))
        return tuple(best_of_rows(cosines, kept, largest=True) for cosines, kept in ways)

    return [
        (1 - torch.cat([near for near, _ in way]).numpy(), torch.cat([rows for _, rows in way]).numpy())
        for way in zip(*on_all_cores(block, range(0, count, high)), strict=True)
    ]


def _condensed(half: torch.Tensor) -> torch.Tensor:
    """Of many rows the coordinates along which they vary most, so that products of all with all cost a third.

    What is left out hardly matters: copies stay nearest, and levels change by some thousandths.
    """
    if len(half) < MANY:
        return half
    return half @ torch.linalg.eigh(half.T @ half)[1][:, -CONDENSED:]


def alike(
    one: NDArray[np.uint8], described: NDArray[np.float32], other: NDArray[np.uint8], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """artanh(h) + artanh(r) / 2 of pairs ``(row of one, row of other, mirrored)``, and the change of alignment.

    Args:
        one: small pictures.
        described: their descriptors.
        other: small pictures.
        pairs: int64 ``[P, 3]``.
    """
    found, change = np.empty(len(pairs)), np.empty((len(pairs), 3))

    def laid(top: int) -> int:
        part = pairs[top : top + CHUNK]
        a, b = one[part[:, 0]], other[part[:, 1]]
        b = np.where((part[:, 2] == 1)[:, None, None, None], b[:, :, ::-1], b)
        bands, how = picture.agreement(picture.bands(a), picture.bands(b), STEPS)
        edges = picture.edges_agree(described[part[:, 0]], b)
        found[top : top + CHUNK] = fisher(edges.numpy()) + BANDS * fisher(bands.numpy())
        change[top : top + CHUNK] = how.numpy()
        return len(part)

    with task("align pairs", len(pairs)) as tracker:
        for count in on_all_cores(laid, range(0, len(pairs), CHUNK)):
            tracker.advance(count)
    return found, change


def looked(
    near: Neighbourhood, small: NDArray[np.uint8], sampled: NDArray[np.int64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """t of equation 1 of the sampled pairs and of the promising ones, -infinity of the rest, and changes of alignment.

    The promising ones are looked at in parts, best first by descriptors, up to ``most`` of them, until of a part hardly
    any stand out of the tail of the sampled ones: where an eighth has no copies, what comes after it has none either.
    """
    value, change = np.full(len(near.pairs), -np.inf), np.zeros((len(near.pairs), 3))

    def look(rows: NDArray[np.int64]) -> None:
        rows = rows[np.isneginf(value[rows])]
        found, change[rows] = alike(small, near.described, small, near.pairs[rows])
        value[rows] = found - near.level[near.pairs[rows, :2]].mean(axis=1)

    if not len(sampled):
        return value, change
    look(sampled)
    start, scale, _ = tail(value[sampled], TAIL)
    promising, step = np.argsort(-near.first, kind="stable")[:most], max(most // PARTS, LEAST)
    for top in range(0, len(promising), step):
        rows = promising[top : top + step]
        look(rows)
        if (value[rows] >= start + FAR * scale).mean() < YIELD:
            break
    return value, change


def neighbour_pairs(neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct pairs ``(smaller, larger)`` of lists of neighbours, int64 ``[P, 2]``."""
    left = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    pairs = np.stack([left, neighbours.ravel()], axis=1)
    return unique_pairs(pairs[pairs[:, 0] != pairs[:, 1]])[0]


def best_way(pairs: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the better of the two ways of each pair, for pairs ``(row, row, way)``."""
    order = np.lexsort((pairs[:, 2], -value, pairs[:, 1], pairs[:, 0]))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (pairs[order[1:], :2] != pairs[order[:-1], :2]).any(axis=1)
    return order[first]


def _either(upright: NDArray[np.float32], pairs: NDArray[np.int64], turned: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of the one upright and the other turned, whichever is more alike."""
    return np.maximum(pair_cosine(upright, pairs, turned), pair_cosine(upright, pairs[:, ::-1], turned))


def _with_way(pairs: NDArray[np.int64], way: int) -> NDArray[np.int64]:
    return np.concatenate([pairs, np.full((len(pairs), 1), way, dtype=np.int64)], axis=1)
