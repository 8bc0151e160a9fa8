"""Near duplicates among embeddings that outgrow memory: all pairs of a similarity or more, for millions of rows.

Rows equal to the last bit are put together first. The others go into cells (:mod:`kintsugi.ops.cells`), each row looks
into its own cell and those that the distance asked for can reach, by matrix products in the first principal
components; what is near there is compared whole. Memory holds those components and the cells of each row (about a
kilobyte a row at 64 axes and 32 probes) and the pairs, of which each row keeps the ``k`` nearest at most in each cell;
embeddings stay on disk.

What is lost is lost where a row would have to look into more than ``probes`` cells; how much that is, is measured:
some rows are compared with all others, and ``Duplicates.recall`` says which share of their pairs had been found.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.duplicates.grouping import (
    MODES,
    capped,
    coded,
    decoded,
    duplicate_groups,
    listed,
    nearest_of_each,
)
from kintsugi.audit.duplicates.vectors import Vectors, firsts
from kintsugi.core.errors import one_of, require
from kintsugi.core.progress import task
from kintsugi.ops.cells import Cells, by_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

A_CELL = 500  # rows of a cell, about
SAMPLE = 64  # rows a cell that cells are made from
DENSE = 4  # close pairs a row from which whole vectors are multiplied rather than looked up pair by pair
SPARE = 4  # pairs a row kept beyond k, so that rounding in a product loses none


@dataclass(frozen=True)
class Duplicates:
    """What is there twice.

    Attributes:
        pairs: rows int64 ``[P, 2]``, the lower first, in order. Of rows equal to the last bit each is paired with the
            first of them alone.
        similarity: cosine of each pair.
        label: group of each row, named by its first row, int64 ``[N]``.
        recall: share of the checked rows' pairs that were found, or None where none was checked or had any.
        facts: counts and settings.
    """

    pairs: NDArray[np.int64]
    similarity: NDArray[np.float32]
    label: NDArray[np.int64]
    recall: float | None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def keep(self) -> NDArray[np.int64]:
        """The first row of each group: the set without its duplicates."""
        return np.flatnonzero(self.label == np.arange(len(self.label)))


def deduplicate(
    embeddings: NDArray[Any] | str | Path | Sequence[str | Path],
    similarity: float = 0.95,
    *,
    column: str | None = None,
    k: int = 50,
    cells: int | None = None,
    axes: int = 64,
    probes: int = 32,
    mode: Literal["greedy", "components"] = "greedy",
    check: int = 200,
    memory: int = 256,
    scratch: Path | str | None = None,
    rng: np.random.Generator | None = None,
) -> Duplicates:
    """All pairs of rows whose cosine is ``similarity`` or more, their groups, and what to keep.

    Args:
        embeddings: float ``[N, D]`` in memory or mapped, a .npy or .parquet file, a folder of either, or a list of
            files; rows are numbered through the files in order.
        similarity: cosine, above 0 and below 1.
        column: of a Parquet file; None takes the only column of lists.
        k: pairs each row keeps in a cell, at most, the nearest; equal rows do not count.
        cells: None makes one for 500 rows.
        axes: principal components.
        probes: cells a row looks into, at most.
        mode: how pairs become groups, in which every row is at ``similarity`` or more from the first.
        check: rows that are compared with all others to measure the recall; 0 for none.
        memory: MiB of a block of distances.
        scratch: folder for the working files (Parquet is unpacked into it); None takes the system's.
        rng: for samples; None is seed 0, so the same data gives the same answer.

    Raises:
        BadArgument: a setting is not allowed.
        BadData: files do not fit each other, or a value is not finite.
    """
    require(0 < similarity < 1, "similarity", similarity, "a cosine above 0 and below 1")
    require(k >= 1, "k", k, "at least 1 pair")
    require(cells is None or cells >= 1, "cells", cells, "at least 1 cell, or None")
    require(probes >= 1, "probes", probes, "at least 1 cell")
    require(check >= 0, "check", check, "0 rows or more")
    require(memory >= 1, "memory", memory, "at least 1 MiB")
    one_of("mode", mode, MODES)
    rng = np.random.default_rng(0) if rng is None else rng
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        source = Vectors.open(embeddings, Path(folder), column)
        first, copy_of = firsts(source.digests())
        count = max(1, round(len(first) / A_CELL)) if cells is None else cells
        pairs, near, full = np.zeros((0, 2), np.int64), np.zeros(0, np.float32), 0
        if len(first) > 1:
            drawn = np.sort(rng.permutation(len(first))[: max(1000, SAMPLE * count)])
            space = Cells(count, min(axes, source.columns)).fit(source.take(first[drawn]), rng)
            pairs, near, full = _joined(source, first, space, similarity, k, probes, memory)
        recall = _recall(source, first, pairs, similarity, check, k, memory, rng)
        facts = {"cells": count, "rows_with_k_pairs": full}
        return assembled(source, first, copy_of, pairs, near, similarity, mode, recall, facts)


def assembled(
    source: Vectors,
    first: NDArray[np.int64],
    copy_of: NDArray[np.int64],
    pairs: NDArray[np.int64],
    near: NDArray[np.float32],
    similarity: float,
    mode: str,
    recall: float | None,
    facts: dict[str, Any],
) -> Duplicates:
    """Groups of pairs of distinct rows (places in ``first``), with the rows that are equal to others joined to them."""
    label = duplicate_groups(len(first), pairs, mode)
    label = capped(label, pairs, lambda asked: source.cosine(first, asked) >= similarity)
    again = np.flatnonzero(first[copy_of] != np.arange(len(copy_of)))
    every, alike = first[pairs], near
    if len(again):
        every = np.concatenate([every, np.stack([first[copy_of[again]], again], axis=1)])
        order = np.argsort(coded(every, len(copy_of)))
        every, alike = every[order], np.concatenate([near, np.ones(len(again), np.float32)])[order]
    told = {"rows": len(copy_of), "equal": len(again), "pairs": len(every), **facts}
    return Duplicates(every, alike, first[label][copy_of], recall, told)


def _joined(
    source: Vectors, first: NDArray[np.int64], space: Cells, similarity: float, k: int, probes: int, memory: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Pairs of places in ``first``, their cosine, and how many rows had more than ``k`` in a cell."""
    import torch

    reach = float(np.sqrt(2 - 2 * similarity)) + 1e-4
    short = np.empty((len(first), space.basis.shape[1]), np.float32)
    probed = np.empty((len(first), min(probes, len(space.centroids))), np.int32)
    with task("place embeddings in cells", len(first)) as tracker:
        for rows in source.blocks(len(first)):
            short[rows] = space.project(source.take(first[rows]))
            probed[rows] = space.place(short[rows], probes, reach)
            tracker.advance(rows.stop - rows.start)
    cells = len(space.centroids)
    guests, start = by_cell(probed, cells)
    square = np.einsum("nd,nd->n", short, short)
    found, alike = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    full = np.zeros(len(first), bool)
    with task("compare inside cells", cells) as tracker:
        for cell in range(cells):
            ask = guests[start[cell] : start[cell + 1]]
            held = ask[probed[ask, 0] == cell]
            base, own = torch.from_numpy(short[held]), torch.from_numpy(square[held])
            high = max(1, memory * 2**20 // (32 * max(1, len(held))))
            for top in range(0, len(ask) if len(held) else 0, high):
                part = ask[top : top + high]
                limit = torch.from_numpy(reach**2 - square[part])[:, None]
                close = torch.addmm(own, torch.from_numpy(short[part]), base.T, alpha=-2) <= limit
                own_rows = np.flatnonzero(probed[part, 0] == cell)
                close[own_rows, np.searchsorted(held, part[own_rows])] = False  # a row is no pair with itself
                met = _met(source, first, part, held, close, similarity, k)
                cosine = source.cosine(first, met)
                kept = cosine >= similarity
                met, cosine, more = nearest_of_each(met[kept], cosine[kept], k)
                full[more] = True
                code, place = np.unique(coded(met, len(first)), return_index=True)
                found.append(code)
                alike.append(cosine[place])
            tracker.advance()
    del short, probed, guests, square  # pairs may be many: make room
    code, place = np.unique(np.concatenate(found), return_index=True)
    found.clear()
    return decoded(code, len(first)), np.concatenate(alike)[place], int(full.sum())


def _met(
    source: Vectors,
    first: NDArray[np.int64],
    part: NDArray[np.int64],
    held: NDArray[np.int64],
    close: Any,
    similarity: float,
    k: int,
) -> NDArray[np.int64]:
    """Pairs that are worth comparing whole: those that are ``close``, of each row its best where they are many."""
    import torch

    if int(torch.count_nonzero(close)) <= DENSE * (len(part) + len(held)):
        left, right = (each.numpy() for each in close.nonzero(as_tuple=True))
        return np.stack([part[left], held[right]], axis=1)
    rows = torch.from_numpy(source.take(first[part])) @ torch.from_numpy(source.take(first[held])).T
    best, place = rows.masked_fill_(~close, -2.0).topk(min(k + SPARE, len(held)), dim=1)
    left, rank = (each.numpy() for each in (best >= similarity - 1e-5).nonzero(as_tuple=True))
    return np.stack([part[left], held[place.numpy()[left, rank]]], axis=1)


def _recall(
    source: Vectors,
    first: NDArray[np.int64],
    pairs: NDArray[np.int64],
    similarity: float,
    check: int,
    k: int,
    memory: int,
    rng: np.random.Generator,
) -> float | None:
    """Share of the pairs of some rows, each row's ``k`` nearest, that were found."""
    asked = np.sort(rng.permutation(len(first))[:check])
    if not len(asked):
        return None
    query, true = source.take(first[asked]), np.zeros((0, 2), np.int64)
    step = max(1, memory * 2**20 // (4 * max(source.columns, len(asked))))
    with task("check against exact search", len(first)) as tracker:
        for top in range(0, len(first), step):
            block = source.take(first[top : top + step])
            left, right = np.nonzero(query @ block.T >= similarity - 1e-5)
            rows = np.stack([asked[left], right + top], axis=1)
            true = np.concatenate([true, rows[rows[:, 0] != rows[:, 1]]])
            tracker.advance(len(block))
    cosine = source.cosine(first, true)
    kept = cosine >= similarity
    true = nearest_of_each(true[kept], cosine[kept], k)[0]
    if not len(true):
        return None
    return float(listed(true, pairs, len(first)).mean())
