"""Parquet with the encoded images inside: a binary column, or Hugging Face's ``{bytes, path}``. One file, or a folder
of shards (``train-00000-of-00004.parquet``), whose names then tell the split.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.files import write_with
from kintsugi.data import export
from kintsugi.data.columns import SPLITS, Columns, assemble
from kintsugi.data.encoded import Encoded
from kintsugi.data.source import BadImage

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

_HELD = 512 * 2**20  # bytes of row groups kept in memory
_GROUP = 256  # images a row group: small, since one image costs reading its group
_USUAL = ("image", "img", "bytes", "jpg", "png", "picture")


def recognises(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, or a folder of them, with encoded images in it."""
    return (bool(files := _files(path))) and _image_column(_schema(files[0]), None) is not None


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Read Parquet with encoded images; they stay in the file until they are decoded. ``path`` names their column.

    Raises:
        BadData: it is no Parquet, or holds no images.
        BadArgument: a named column is not there.
    """
    columns, files = columns or Columns(), _files(Path(path))
    if not files:
        raise BadData(f"{path} holds no Parquet file.", "Name a Parquet file or a folder of them.")
    schema = _schema(files[0])
    column = _image_column(schema, columns.path)
    if column is None:
        raise BadArgument(
            f"{path} has no column of encoded images{f' {columns.path!r}' if columns.path else ''}.",
            f"Name it with path; the table has: {', '.join(schema.names)}.",
        )
    parts = []
    for file in files:
        part = pq.read_table(file, columns=[name for name in schema.names if name != column])
        split = SPLITS.get(file.stem.split("-")[0].lower())
        if split is not None and not {"split", columns.split} & set(part.column_names) and len(files) > 1:
            part = part.append_column("split", pa.array([split] * _rows(file), pa.string()))
        parts.append(part)
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise BadData(f"The files in {path} have different columns ({error}).", "Read them one by one.") from error
    source = RowGroups(files, column)
    if not table.num_columns:
        table = pa.table({"row": pa.array(range(len(source)), pa.int64())})
    declared = export.recorded_classes(table) or _huggingface_classes(schema, columns)
    ids = [f"{number:08d}" for number in range(len(source))]
    return assemble(source, table, columns, ids=ids, where=str(path), classes=declared)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    return [path] if path.suffix.lower() == ".parquet" else []


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadData(
            f"{path} is not Parquet ({str(error).splitlines()[0]}).", "Restore or remove the file."
        ) from error


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _image_column(schema: pa.Schema, named: str | None) -> str | None:
    fit = [field.name for field in schema if _holds_bytes(field.type)]
    if named is not None:
        return named if named in fit else None
    return next((name for name in _USUAL if name in fit), next((name for name in fit if name != "mask"), None))


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _huggingface_classes(schema: pa.Schema, columns: Columns) -> tuple[str, ...] | None:
    """Class names from the description that ``datasets`` leaves in a file."""
    import json

    label = columns.find("label", schema.names, "the table")
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = described.get("info", {}).get("features", {}).get(label, {})
    return tuple(feature["names"]) if isinstance(feature, dict) and feature.get("names") else None


class RowGroups(Encoded):
    """Encoded images in Parquet files, read a row group at a time; the last groups are kept in memory.

    Args:
        files: the Parquet files.
        column: the column of images.
    """

    def __init__(self, files: list[Path], column: str) -> None:
        super().__init__()
        self.files, self.column = files, column
        places, starts = [], [0]
        for number, file in enumerate(files):
            found = pq.read_metadata(file)
            for group in range(found.num_row_groups):
                places.append((number, group))
                starts.append(starts[-1] + found.row_group(group).num_rows)
        self._places, self._starts = places, np.array(starts)
        self._held: OrderedDict[int, pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def encoded(self, row: int) -> memoryview:
        """The bytes of one image, without a copy.

        Raises:
            BadImage: the cell is empty or the file broken.
        """
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        value = self._group(group, row)[row - int(self._starts[group])]
        if not value.is_valid:
            raise BadImage(self.where(row), "missing", "the cell is empty")
        return memoryview(value.as_buffer())

    def where(self, row: int) -> str:
        """File and row."""
        return f"{self.files[self._places[int(np.searchsorted(self._starts, row, side='right')) - 1][0]]} row {row}"

    def _group(self, group: int, row: int) -> pa.Array:
        with self._lock:
            if group not in self._held:
                file, inner = self._places[group]
                try:
                    table = pq.ParquetFile(self.files[file]).read_row_group(inner, columns=[self.column])
                except (pa.ArrowInvalid, OSError) as error:
                    raise BadImage(self.where(row), "corrupt", str(error).splitlines()[0]) from error
                values = table.column(0).combine_chunks()
                values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
                self._held[group] = values.field("bytes") if pa.types.is_struct(values.type) else values
                while len(self._held) > 1 and sum(held.nbytes for held in self._held.values()) > _HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(group)
            return self._held[group]


def write(data: ImageSet, path: Path | str) -> ImageSet:
    """Write one Parquet file with the encoded images in the column ``image``.

    Raises:
        BadData: the file exists or cannot be written.
        StorageFull: the disk is full; nothing is left behind.
    """
    path = Path(path)
    export.refuse_existing(path)
    plain = export.named_table(data)
    extra = [pa.field("image", pa.binary())] + ([pa.field("mask", pa.binary())] if "mask" in data.columns else [])
    schema = pa.schema([*plain.schema, *extra], metadata=plain.schema.metadata)

    def save(name: str) -> None:
        with pq.ParquetWriter(name, schema) as writer:
            held: list[export.Written] = []
            for image in export.images(data):
                held.append(image)
                if len(held) == _GROUP:
                    writer.write_table(_group_table(data, plain, held, schema))
                    held.clear()
            if held:
                writer.write_table(_group_table(data, plain, held, schema))

    write_with(path, save)
    return read(path)


def _group_table(data: ImageSet, plain: pa.Table, held: list[export.Written], schema: pa.Schema) -> pa.Table:
    table = plain.take(pa.array([image.row for image in held], pa.int64()))
    table = table.append_column("image", pa.array([image.content for image in held], pa.binary()))
    if "mask" in data.columns:
        masks = pa.array([export.png_mask(data, image.row) for image in held], pa.binary())
        table = table.append_column("mask", masks)
    return table.cast(schema)
