"""Embeddings in files or in memory, read in blocks and scaled to length 1."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData
from kintsugi.core.files import disk_errors
from kintsugi.ops.neighbours import checked, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**24  # numbers read at a time
KINDS = (".npy", ".parquet")


class Vectors:
    """Rows of one or several arrays, numbered through.

    Args:
        parts: float arrays ``[N_i, D]``, in memory or mapped.
    """

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        for part in parts:
            if part.ndim != 2 or part.dtype.kind != "f":
                raise BadData(f"Embeddings are {part.dtype} {part.shape}:", "give one row of floats a sample.")
            if part.shape[1] != parts[0].shape[1]:
                raise BadData(f"Embeddings have {part.shape[1]} and {parts[0].shape[1]} columns:", "embed all alike.")
        self.parts = list(parts)
        self.columns = int(parts[0].shape[1])
        self._start = np.cumsum([0, *(len(part) for part in parts)])

    @classmethod
    def open(cls, source: Any, scratch: Path, column: str | None = None) -> Vectors:
        """Vectors of an array, a file, a folder or a list of files.

        Args:
            source: see above; Parquet is unpacked.
            scratch: folder for what is unpacked.
            column: of Parquet files; None takes the only column of lists.
        """
        if isinstance(source, np.ndarray):
            return cls([source])
        given = [Path(one) for one in ([source] if isinstance(source, str | Path) else source)]
        files = [file for one in given for file in (sorted(one.iterdir()) if one.is_dir() else [one])]
        files = [file for file in files if file.suffix in KINDS or file in given]
        if not files:
            raise BadData(f"There are no embeddings in {source}:", "give .npy or .parquet files.")
        return cls([mapped(file, scratch / f"{number}.npy", column) for number, file in enumerate(files)])

    def __len__(self) -> int:
        return int(self._start[-1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows scaled to length 1, float32 ``[len(rows), D]``."""
        rows = np.asarray(rows, np.int64)
        made = np.empty((len(rows), self.columns), np.float32)
        where = np.searchsorted(self._start, rows, side="right") - 1
        for number in np.unique(where):
            mine = where == number
            made[mine] = self.parts[number][rows[mine] - self._start[number]]
        return unit(checked("embeddings", made))

    def blocks(self, count: int) -> Iterator[slice]:
        """Runs of ``count`` rows that may be held at once."""
        step = max(1, BLOCK // max(1, self.columns))
        for top in range(0, count, step):
            yield slice(top, min(top + step, count))

    def cosine(self, first: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of pairs ``[P, 2]`` of places in ``first``, each number by itself; a block reads a row once."""
        found = np.empty(len(pairs), np.float32)
        for rows in self.blocks(len(pairs)):
            once, place = np.unique(pairs[rows], return_inverse=True)
            vectors, place = self.take(first[once]), place.reshape(-1, 2)
            apart = vectors[place[:, 0]] - vectors[place[:, 1]]
            found[rows] = 1 - (apart * apart).sum(axis=1) / 2
        return found

    def digests(self) -> NDArray[np.uint64]:
        """16 bytes a row that name its content once scaled, ``[N, 2]``."""
        key = np.empty((len(self), 2), np.uint64)
        for rows in self.blocks(len(self)):
            block = self.take(np.arange(rows.start, rows.stop)) + np.float32(0)  # -0 becomes 0
            digest = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in block)
            key[rows] = np.frombuffer(digest, np.uint64).reshape(-1, 2)
        return key


def firsts(key: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First of all rows that are equal, in order, and for each row the place of its first among them.

    Args:
        key: ``[N, C]`` of any plain type; rows are equal where their bytes are.
    """
    if not len(key):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    plain = np.ascontiguousarray(key)
    whole = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    _, first, place = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[place.ravel()]


def mapped(file: Path, unpacked: Path | None = None, column: str | None = None) -> NDArray[Any]:
    """The rows of a file without reading them; those of Parquet are unpacked first, into another file."""
    if file.suffix == ".parquet" and unpacked is not None:
        return _unpacked(file, unpacked, column)
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise BadData(f"{file} cannot be read as embeddings ({error}):", "give a .npy or .parquet file.") from error


def _unpacked(file: Path, target: Path, column: str | None) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        held = pq.ParquetFile(file)
        lists = [f.name for f in held.schema_arrow if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
    except (OSError, pa.ArrowException) as error:
        raise BadData(f"{file} cannot be read as Parquet ({error}).", "Write it again.") from error
    if column is None and len(lists) == 1:
        column = lists[0]
    if column not in lists:
        raise BadData(f"{file} has columns of lists {lists}, asked for is {column!r}:", "name the one to take.")
    made: NDArray[Any] | None = None
    top, part = 0, target.with_name(f"{target.name}.{os.getpid()}")
    with disk_errors(target):
        for batch in held.iter_batches(batch_size=8192, columns=[column]):
            values = batch.column(0)
            flat = np.asarray(values.flatten().to_numpy(zero_copy_only=False), np.float32)
            wide = len(flat) // max(1, len(values))
            if values.null_count or wide * len(values) != len(flat) or (made is not None and made.shape[1] != wide):
                raise BadData(f"{file}: rows of {column!r} are not all of one length:", "embed all alike.")
            if made is None:
                made = np.lib.format.open_memmap(part, "w+", np.float32, (held.metadata.num_rows, wide))
            made[top : top + len(values)] = flat.reshape(-1, wide)
            top += len(values)
    if made is None:
        raise BadData(f"{file} has no rows.", "Leave it out.")
    part.replace(target)  # whole or not at all
    return made
