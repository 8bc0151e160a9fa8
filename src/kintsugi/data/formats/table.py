"""Tables that name image files: CSV, TSV, JSON lines, Parquet, and CelebA's own lists.

Waterbirds' ``metadata.csv`` and CelebA's ``list_attr_celeba`` (with ``list_eval_partition`` beside it) are read as
they are.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.columns import Columns, assemble
from kintsugi.data.confine import Folder, printable
from kintsugi.data.encoded import Files
from kintsugi.data.export import recorded_classes
from kintsugi.data.source import BadImage, Problem

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
# Where images lie beside a table that names them without their folder.
_BESIDE = (".", "images", "img", "img_align_celeba", "img_align_celeba/img_align_celeba", "data")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")


def recognises(path: Path) -> bool:
    """Whether ``path`` is such a table."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Read a table that names image files.

    Files that are missing, or that lead out of the folder, are recorded in ``problems`` and left out.

    Raises:
        BadData: it is no table, or none of its files is there.
        BadArgument: a named column is not there.
    """
    path, columns = Path(path), columns or Columns()
    table = read_table(path, columns)
    column = columns.find("path", table.column_names, str(path))
    if column is None:
        raise BadArgument(
            f"{path} has no column with a usual name for image files.",
            f"Name it with path; the table has: {', '.join(table.column_names)}.",
        )
    names = [None if value is None else str(value) for value in table.column(column).to_pylist()]
    folder = _images_folder(path.parent if columns.root is None else columns.root, names, columns.root is not None)
    paths, kept, problems = [], [], []
    for number, name in enumerate(names):
        try:
            if name is None:
                raise BadImage(f"{path} row {number + 1}", "missing", "the cell is empty")
            paths.append(folder.file(name))
            kept.append(number)
        except BadImage as error:
            problems.append(Problem(printable(name or ""), error.where, error.reason, error.detail))
    if names and not kept:
        raise BadData(
            f"None of the {len(names)} files in column {column!r} of {path} can be used: the first, {names[0]!r}, is "
            f"{problems[0].reason} ({problems[0].detail}).",
            "Name the folder they start from (--root).",
        )
    table = table.take(pa.array(kept, pa.int64()))
    if (mask := columns.find("mask", table.column_names, str(path))) is not None:
        table = _with_mask_paths(table, mask, folder, problems)
    ids = [printable(str(names[number])) for number in kept]
    return assemble(
        Files(paths, ids),
        table,
        columns,
        ids=ids,
        where=str(path),
        problems=problems,
        used=(column,),
        classes=recorded_classes(table),
    )


def _images_folder(base: Path, names: list[str | None], given: bool) -> Folder:
    """The folder the names start from: the one given, else the first likely one that holds the first file found."""
    if not given:
        for name in [name for name in names if name][:5]:
            for beside in _BESIDE:
                if (base / beside).is_dir():
                    folder = Folder(base / beside)
                    try:
                        folder.file(name)
                    except BadImage:
                        continue
                    return folder
    return Folder(base)


def _with_mask_paths(table: pa.Table, column: str, folder: Folder, problems: list[Problem]) -> pa.Table:
    """Mask names as whole paths inside the folder; null where one cannot be used."""
    place = table.column_names.index(column)
    if not pa.types.is_string(table.schema.field(column).type):
        return table
    found: list[str | None] = []
    for name in table.column(column).to_pylist():
        try:
            found.append(str(folder.file(name)) if name else None)
        except BadImage as error:
            problems.append(Problem("", error.where, f"mask {error.reason}", error.detail, kept=True))
            found.append(None)
    return table.set_column(place, column, pa.array(found, pa.string()))


# ------------------------------------------------------------------------------------------------ files to Arrow


def read_table(path: Path, columns: Columns) -> pa.Table:
    """The table as Arrow; names (id, path, label, mask) stay text, so that ``007`` is not 7.

    Raises:
        BadData: it cannot be parsed.
    """
    try:
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            return _distinct(pq.read_table(path), path)
        if suffix == ".jsonl":
            return pa.json.read_json(path)
        if suffix == ".txt" and _is_celeba(path):
            return _with_partition(_celeba(path), path)
        with path.open("rb") as stream:
            head = stream.readline(1 << 20)
        delimiter = "\t" if suffix == ".tsv" or (head.count(b"\t") > head.count(b",")) else ","
        table = _csv(path, delimiter, head, columns)
        return _with_partition(table, path) if path.stem == "list_attr_celeba" else table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise BadData(
            f"{path} cannot be read as a table ({str(error).splitlines()[0]}).",
            "Give CSV with a header line, JSON lines or Parquet.",
        ) from error
    except OSError as error:
        raise BadData(
            f"{path} cannot be read ({error.strerror or error}).", "Name a table that can be read."
        ) from error


def _distinct(table: pa.Table, path: Path) -> pa.Table:
    """The table, refused where two columns share a name."""
    names = table.column_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadData(f"{path} has {names.count(twice)} columns called {twice!r}.", "Give each column its own name.")
    return table


def _csv(path: Path, delimiter: str, head: bytes, columns: Columns) -> pa.Table:
    header = next(csv.reader([head.decode("utf-8-sig")], delimiter=delimiter), [])
    text = {
        name
        for role in ("label", "id", "path", "mask", "split")
        if (name := columns.find(role, header, str(path))) is not None
    }
    text.update(columns.annotators)
    table = pa.csv.read_csv(
        path,
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in text},
            strings_can_be_null=True,
            null_values=["", "NaN", "nan"],
        ),
    )
    _distinct(table, path)
    for name in sorted(text):
        if name in table.column_names and name in (columns.find("label", header, ""), *columns.annotators):
            table = table.set_column(table.column_names.index(name), name, _numbers(table.column(name)))
    return table


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels that are written as whole numbers become numbers; ``01`` and ``cat`` stay text."""
    values = [value for value in column.unique().to_pylist() if value is not None]
    if values and all(_WHOLE.fullmatch(value) for value in values):
        return column.cast(pa.int64())
    return column


def _is_celeba(path: Path) -> bool:
    with path.open(encoding="utf-8") as stream:
        return path.stem == "list_attr_celeba" or stream.readline().strip().isdigit()


def _celeba(path: Path) -> pa.Table:
    """Line 1: the count; line 2: the attributes; then a file name and -1 or 1 for each."""
    lines = path.read_text(encoding="utf-8").split("\n")
    names = lines[1].split()
    rows = [line.split() for line in lines[2:] if line.strip()]
    for number, row in enumerate(rows, start=3):
        if len(row) != len(names) + 1:
            raise BadData(
                f"{path} line {number} has {len(row)} words where a file name and {len(names)} values are expected.",
                "Restore the file.",
            )
    if int(lines[0]) != len(rows):
        raise BadData(f"{path} announces {lines[0].strip()} images but lists {len(rows)}.", "Restore the file.")
    values = np.array([row[1:] for row in rows], dtype=np.int8).reshape(len(rows), len(names))
    columns = {name: pa.array(values[:, number], pa.int64()) for number, name in enumerate(names)}
    return pa.table({"image_id": pa.array([row[0] for row in rows], pa.string()), **columns})


def _with_partition(table: pa.Table, path: Path) -> pa.Table:
    """CelebA's split, from the list beside its attributes."""
    if "partition" in table.column_names or "split" in table.column_names:
        return table
    found: dict[str, str] = {}
    for suffix, cut in ((".txt", None), (".csv", ",")):
        beside = path.with_name(f"list_eval_partition{suffix}")
        if beside.exists():
            lines = (line.split(cut) for line in beside.read_text(encoding="utf-8").splitlines() if line.strip())
            found = {words[0].strip(): words[-1].strip() for words in lines if len(words) >= 2}
            break
    if not found:
        return table
    names = table.column(table.column_names[0]).to_pylist()
    return table.append_column("partition", pa.array([found.get(name) for name in names], pa.string()))
