"""Near duplicates among embeddings in many files, by many processes or machines: the path to a billion images.

What SNIP does (Webster et al., 2023), cut into tasks that share nothing but a folder:

1. a compressor, codebooks and cells (:mod:`kintsugi.ops.cells`) are learned from a sample of all rows;
2. a task for each file writes its compressed vectors and codes, in the order of their cells, and which of its rows look
   into which other cells;
3. a task for each run of cells compares the codes there, whatever file they came from, by the adaptive threshold
   ADC(x, y) <= (1 + slack) ADC(x, x) + offset in both directions;
4. tasks of equal size read the whole vectors of the pairs that are left; what is at ``similarity`` or more is kept.

Tasks run in this process, in worker processes, or on Ray (a laptop or a cluster; the folder must be one that all
machines see). Samples are drawn by row number, cells and codes are one set for all, and each number is reckoned row by
row, so pairs and groups are the same for any cutting into files and any number of workers. Finished files of task 2 are
kept: interrupted work goes on behind them. The calling process holds some 40 bytes a row, and the pairs. On Ray plain
tasks are used; Ray Data is not needed.

Codes lose pairs. Of 100,000 embeddings of real crops in eight files 7,657 repeat another (cosine 0.98, exact search);
by codes 7,551 were found to, in 36 seconds by two workers (6,219 with the slack of ``snip``, 0.2). One process, two and
Ray gave the same pairs.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.duplicates.at_scale import A_CELL, SAMPLE, Duplicates, assembled
from kintsugi.audit.duplicates.grouping import MODES, nearest_of_each, unique_pairs
from kintsugi.audit.duplicates.snip import excess
from kintsugi.audit.duplicates.tasks import runner
from kintsugi.audit.duplicates.vectors import Vectors, firsts, mapped
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.files import disk_errors
from kintsugi.core.randomness import numpy_rng
from kintsugi.ops.cells import Cells, by_cell
from kintsugi.ops.codes import ProductCodes
from kintsugi.training.feature_compressor import FeatureCompressor

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEARNED = 200_000  # rows a compressor, codebooks and cells are learned from, at most
RUN = 200_000  # rows of a run of cells, about
PAIRS = 500_000  # pairs a task re-checks
WIDE = 2**22  # distances held at once
KEPT = ("short", "code", "row", "start", "guest", "guest_start", "digest")


@dataclass(frozen=True)
class Plan:
    """What every task needs to know, small enough to send: what was learned, and the settings of the search."""

    compressor: FeatureCompressor
    codes: ProductCodes
    cells: Cells
    probes: int
    reach: float
    slack: float
    offset: float
    k: int

    @property
    def name(self) -> str:
        """Names what the shards made by this plan hold."""
        text = repr((self.probes, self.reach)).encode()
        learned = (self.codes.books, self.cells.centroids, self.cells.basis)
        return hashlib.blake2b(text + b"".join(each.tobytes() for each in learned), digest_size=8).hexdigest()


def deduplicate_sharded(
    files: Sequence[str | Path],
    folder: Path | str,
    similarity: float = 0.95,
    *,
    compressor: FeatureCompressor | None = None,
    codes: ProductCodes | None = None,
    slack: float = 1.0,
    offset: float = 0.001,
    cells: int | None = None,
    probes: int = 16,
    reach: float = 0.3,
    k: int = 50,
    mode: Literal["greedy", "components"] = "greedy",
    column: str | None = None,
    workers: int = 1,
    engine: Literal["processes", "ray"] = "processes",
    seed: int = 0,
) -> Duplicates:
    """Pairs and groups of near duplicates.

    Args:
        files: .npy or .parquet files of embeddings; rows are numbered through them in order.
        folder: for working files, seen by all workers; what was done there for these files and settings is not redone.
        similarity: cosine of whole vectors from which a pair counts.
        compressor: with its settings, not fitted; None is SNIP to 64 numbers.
        codes: with their settings, not fitted; None is 8 bytes.
        slack: of the adaptive threshold; wide, since whole vectors are compared afterwards.
        offset: of the adaptive threshold.
        cells: None makes one for 500 rows.
        probes: cells a row looks into, at most.
        reach: distance of compressed vectors within which other cells are looked into.
        k: pairs each row keeps in a cell, at most.
        mode: how pairs become groups.
        column: of Parquet files.
        workers: see :func:`kintsugi.audit.duplicates.tasks.runner`.
        engine: ``processes`` or ``ray``.
        seed: of the sample and of what is learned from it.

    Raises:
        BadData: a file cannot be read.
        MissingDependency: ``ray`` was asked for and is not installed.
    """
    require(0 < similarity < 1, "similarity", similarity, "a cosine above 0 and below 1")
    require(slack >= 0, "slack", slack, "a number of at least 0")
    require(offset >= 0, "offset", offset, "a number of at least 0")
    require(cells is None or cells >= 1, "cells", cells, "at least 1 cell, or None")
    require(probes >= 1, "probes", probes, "at least 1 cell")
    require(reach >= 0, "reach", reach, "a distance of at least 0")
    require(k >= 1, "k", k, "at least 1 pair")
    one_of("mode", mode, MODES)
    if not files:
        raise BadData("There are no files of embeddings:", "give at least one.")
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    with runner(engine, workers) as run:
        given = [(Path(file).absolute(), place / f"{_stamp(Path(file))}.npy", column) for file in files]
        paths = run(_opened, given, "open files")
        source = Vectors([mapped(path) for path in paths])
        plan = Plan(*_learned(source, compressor, codes, cells, seed), probes, reach, slack, offset, k)
        work = place / plan.name
        start = np.cumsum([0, *(len(part) for part in source.parts)]).tolist()
        jobs = [(plan, path, top, work / f"{_stamp(path)}-{top}") for path, top in zip(paths, start, strict=False)]
        shards = run(_compressed, jobs, "compress files")
        first, copy_of = firsts(np.concatenate([np.load(shard / "digest.npy") for shard in shards]))
        single = np.zeros(len(copy_of), bool)
        single[first] = True
        np.save(work / "single.npy", single)
        cuts = np.linspace(0, len(plan.cells.centroids), 2 + len(copy_of) // RUN).astype(int).tolist()
        runs = [(plan, shards, work / "single.npy", low, high) for low, high in pairwise(cuts)]
        close = unique_pairs(np.concatenate(run(_compared, runs, "compare codes")))[0]
        parts = [(paths, close[top : top + PAIRS]) for top in range(0, len(close), PAIRS)]
        near = np.concatenate([np.zeros(0, np.float32), *run(_checked, parts, "check pairs")])
    kept = near >= similarity
    facts = {"candidates": len(close), "cells": len(plan.cells.centroids), "files": len(paths)}
    pairs = np.searchsorted(first, close[kept])
    return assembled(source, first, copy_of, pairs, near[kept], similarity, mode, None, facts)


def _opened(file: Path, unpacked: Path, column: str | None) -> Path:
    """A .npy file of the same rows: the file itself, or what is made of it."""
    if unpacked.exists():
        return unpacked
    mapped(file, unpacked, column)
    return unpacked if file.suffix == ".parquet" else file


def _learned(
    source: Vectors, compressor: FeatureCompressor | None, codes: ProductCodes | None, cells: int | None, seed: int
) -> tuple[FeatureCompressor, ProductCodes, Cells]:
    count = max(1, round(len(source) / A_CELL)) if cells is None else cells
    drawn = np.sort(numpy_rng(seed, "sample").permutation(len(source))[: min(LEARNED, max(10_000, SAMPLE * count))])
    sample = source.take(drawn)
    made = copy.deepcopy(compressor or FeatureCompressor("snip", 64)).fit(sample, numpy_rng(seed, "compressor"))
    short = made.transform(sample)
    books = copy.deepcopy(codes or ProductCodes(8)).fit(short, numpy_rng(seed, "codes"))
    return made, books, Cells(count, short.shape[1]).fit(short, numpy_rng(seed, "cells"))


def _compressed(plan: Plan, path: Path, top: int, shard: Path) -> Path:
    """Write the shard of a file whose first row is ``top``: whole or not at all."""
    if shard.exists():
        return shard
    source = Vectors([mapped(path)])
    size = min(plan.compressor.size, source.columns) if plan.compressor.method != "none" else source.columns
    short = np.zeros((len(source), size), np.float32)
    code = np.zeros((len(source), plan.codes.parts), np.uint8)
    probed = np.zeros((len(source), min(plan.probes, len(plan.cells.centroids))), np.int32)
    for rows in source.blocks(len(source)):
        short[rows] = plan.compressor.transform(source.take(np.arange(rows.start, rows.stop)))
        code[rows] = plan.codes.encode(short[rows])
        probed[rows] = plan.cells.place(plan.cells.project(short[rows]), plan.probes, plan.reach)
    cells = len(plan.cells.centroids)
    order, start = by_cell(probed[:, :1], cells)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    guest, guest_start = by_cell(probed[:, 1:], cells)
    made: tuple[NDArray[Any], ...] = (
        short[order],
        code[order],
        order + top,
        start,
        rank[guest],
        guest_start,
        source.digests(),
    )
    part = shard.with_name(f"{shard.name}.{os.getpid()}")
    with disk_errors(part):
        part.mkdir(parents=True, exist_ok=True)
        for name, array in zip(KEPT, made, strict=True):
            np.save(part / f"{name}.npy", array)
    try:
        part.rename(shard)
    except OSError:
        shutil.rmtree(part)
        if not shard.exists():  # else another worker was first, with the same content
            raise
    return shard


def _compared(plan: Plan, shards: Sequence[Path], single: Path, low: int, high: int) -> NDArray[np.int64]:
    """Rows of close codes in the cells from ``low`` to ``high``, ``[P, 2]``."""
    held = [{name: np.load(shard / f"{name}.npy", mmap_mode="r") for name in KEPT[:-1]} for shard in shards]
    alone = np.load(single, mmap_mode="r")
    found = [np.zeros((0, 2), np.int64)]
    for cell in range(low, high):
        hosts = [slice(*part["start"][cell : cell + 2].tolist()) for part in held]
        guests = [part["guest"][slice(*part["guest_start"][cell : cell + 2].tolist())] for part in held]
        row, short, code = (
            np.concatenate(
                [part[name][rows] for kind in (hosts, guests) for part, rows in zip(held, kind, strict=True)]
            )
            for name in ("row", "short", "code")
        )
        inside = np.arange(len(row)) < sum(rows.stop - rows.start for rows in hosts)
        kept = alone[row]
        order = np.flatnonzero(kept)[np.lexsort((row[kept], ~inside[kept]))]
        found += _close(plan, row[order], short[order], code[order], int(inside[kept].sum()))
    return unique_pairs(np.concatenate(found))[0]


def _close(
    plan: Plan, row: NDArray[np.int64], short: NDArray[np.float32], code: NDArray[np.uint8], inside: int
) -> Iterator[NDArray[np.int64]]:
    """Pairs of one that asks and one of the first ``inside``, which live here; both by place in order of rows."""
    import torch

    if not inside:
        return
    allowed = (1 + plan.slack) * plan.codes.distance(short, code) + plan.offset
    likely = torch.from_numpy(allowed + np.float32(1e-4))  # products round; what they propose is reckoned again
    base = torch.from_numpy(plan.codes.decode(code[:inside]))
    square = (base * base).sum(1)
    step = max(1, WIDE // inside)
    for top in range(0, len(row), step):
        part = torch.from_numpy(short[top : top + step])
        adc = torch.addmm(square, part, base.T, alpha=-2) + (part * part).sum(1, keepdim=True)
        left, right = (each.numpy() for each in (adc <= likely[top : top + step, None]).nonzero(as_tuple=True))
        met = np.stack([left + top, right], axis=1)
        met = met[met[:, 0] != met[:, 1]]
        over = excess(plan.codes, short, code, met, slack=plan.slack, offset=plan.offset)
        met, _, _ = nearest_of_each(met[over <= 1], -over[over <= 1], plan.k)
        yield row[met]


def _checked(paths: Sequence[Path], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    rows, place = np.unique(pairs, return_inverse=True)
    return Vectors([mapped(path) for path in paths]).cosine(rows, place.reshape(-1, 2))


def _stamp(path: Path) -> str:
    """Names a file as it is now."""
    if not path.is_file():
        raise BadData(f"There is no file {path}:", "give .npy or .parquet files.")
    state = path.stat()
    text = f"{path.absolute()}|{state.st_size}|{state.st_mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
