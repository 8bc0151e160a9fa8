"""Embeddings in files or in memory, read in blocks and scaled to length 1."""

from __future__ import annotations

import hashlib
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
        return cls([_mapped(file, scratch / f"{number}.npy", column) for number, file in enumerate(files)])

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

    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First of all rows that are equal once scaled, in order, and each row's place among them."""
        key = np.empty((len(self), 2), np.uint64)
        for rows in self.blocks(len(self)):
            block = self.take(np.arange(rows.start, rows.stop)) + np.float32(0)  # -0 becomes 0
            digest = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in block)
            key[rows] = np.frombuffer(digest, np.uint64).reshape(-1, 2)
        _, first, place = np.unique(
            key.view([("a", np.uint64), ("b", np.uint64)]).ravel(), return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return first[order].astype(np.int64), rank[place.ravel()]


def _mapped(file: Path, unpacked: Path, column: str | None) -> NDArray[Any]:
    if file.suffix == ".parquet":
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
    top = 0
    with disk_errors(target):
        for batch in held.iter_batches(batch_size=8192, columns=[column]):
            values = batch.column(0)
            flat = np.asarray(values.flatten().to_numpy(zero_copy_only=False), np.float32)
            wide = len(flat) // max(1, len(values))
            if values.null_count or wide * len(values) != len(flat) or (made is not None and made.shape[1] != wide):
                raise BadData(f"{file}: rows of {column!r} are not all of one length:", "embed all alike.")
            if made is None:
                made = np.lib.format.open_memmap(target, "w+", np.float32, (held.metadata.num_rows, wide))
            made[top : top + len(values)] = flat.reshape(-1, wide)
            top += len(values)
    if made is None:
        raise BadData(f"{file} has no rows.", "Leave it out.")
    return made
