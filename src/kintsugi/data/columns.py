"""Any table becomes an image set's table by naming its columns: which is the label, the split, the id, the path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import RESERVED, ImageSet
from kintsugi.data.source import Problem, Problems, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names taken when none is given, in this order.
USUAL = {
    "label": ("label", "labels", "y", "class", "class_name", "class_label", "fine_label", "cls", "target", "category"),
    "split": ("split", "partition"),
    "path": ("file_name", "img_filename", "filename", "path", "filepath", "file", "image_path", "image", "image_id"),
    "id": ("id",),
    "mask": ("mask",),
    "caption": ("caption",),
}
SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_NUMBERED = {"0": "train", "1": "val", "2": "test"}  # Waterbirds, CelebA and their kin


@dataclass(frozen=True)
class Columns:
    """Which column of a person's table is what.

    Attributes:
        label: the class; by default the first of the usual names that is there.
        split: train, val or test; numbers 0, 1, 2 mean these.
        attributes: columns to keep as attributes; empty keeps all.
        id: stable name of each sample; by default ``id`` where there is one, else the file's name or the number.
        path: name of the image file.
        mask: mask file or encoded mask.
        caption: a sentence about the image.
        annotators: one column an annotator, each with the label this person gave; or one column of lists.
        classes: the class names in the order of the model's outputs; by default the sorted names.
        root: the folder the paths start from; by default the table's.
    """

    label: str | None = None
    split: str | None = None
    attributes: tuple[str, ...] = ()
    id: str | None = None
    path: str | None = None
    mask: str | None = None
    caption: str | None = None
    annotators: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    root: Path | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise BadArgument.of("classes", self.classes, "each class name once")

    def find(self, role: str, known: Sequence[str], where: str) -> str | None:
        """The column that plays a role: the one named, else one of the usual names, else None.

        Raises:
            BadArgument: the named column is not there.
        """
        named: str | None = getattr(self, role)
        if named is None:
            return next((name for name in USUAL[role] if name in known), None)
        if named not in known:
            raise BadArgument(f"{role}={named!r}: {where} has no such column.", f"It has: {', '.join(known)}.")
        return named

    def refuse(self, where: str, *roles: str) -> None:
        """Say that a format has no columns to name for these roles."""
        for field in fields(self):
            if field.name in roles and getattr(self, field.name) not in (None, ()):
                raise BadArgument(
                    f"{field.name}={getattr(self, field.name)!r} cannot be given for {where}: it has no table.",
                    "Leave it out.",
                )


def assemble(
    source: Source,
    table: pa.Table,
    columns: Columns,
    *,
    ids: Sequence[str],
    where: str,
    rows: NDArray[np.int64] | None = None,
    problems: Iterable[Problem] = (),
    used: Sequence[str] = (),
    classes: Sequence[str] | None = None,
) -> ImageSet:
    """An image set from a source and the table as the person wrote it.

    Args:
        source: the images.
        table: one row an image, any columns.
        columns: what they mean.
        ids: ids of the samples where the table has none.
        where: the data's name in messages.
        rows: source row of each table row.
        problems: what was left out so far.
        used: columns that must not become attributes, such as that of the images themselves.
        classes: class names that the data itself declares, in the order of its integer labels.

    Raises:
        BadData: there are no images, or labels lie outside the classes.
        BadArgument: a named column is not there.
    """
    problems = Problems(problems)
    known = [name for name in table.column_names if name not in used]
    if not len(table):
        why = f" ({len(problems)} were left out, first {problems[0].where}: {problems[0].reason})" if problems else ""
        raise BadData(f"{where} holds no images{why}.", "Name a folder, table or archive with images.")
    role = {name: columns.find(name, known, where) for name in ("label", "split", "id", "mask", "caption")}
    for name in (*columns.attributes, *columns.annotators):
        if name not in known:
            raise BadArgument(f"{where} has no column {name!r}.", f"It has: {', '.join(known)}.")

    made: dict[str, Any] = {"id": _ids(table, role["id"], columns.id is not None, ids, where, problems)}
    voices = [table.column(name) for name in columns.annotators]
    if not voices and "annotators" in known and pa.types.is_list(table.schema.field("annotators").type):
        voices, known = [table.column("annotators")], [name for name in known if name != "annotators"]
    plain = pa.nulls(len(table), pa.int64()) if role["label"] is None else table.column(role["label"])
    labels, names = index_labels([plain, *map(_flat, voices)], columns.classes or classes, where)
    made["label"] = pa.array(labels[0], pa.int64())
    if role["split"] is not None:
        made["split"] = splits(table.column(role["split"]))
    for name in ("mask", "caption"):
        if (found := role[name]) is not None:
            made[name] = table.column(found)
    if voices:
        made["annotators"] = _voices(voices, labels[1:])
    taken = {*role.values(), *columns.annotators}
    for name in columns.attributes or [name for name in known if name not in taken]:
        if not columns.attributes and (fitting := _fitting(name, table.column(name), len(names))) is not None:
            made[name] = fitting
            continue
        kept = f"{name}_column" if name in RESERVED else name
        if kept != name:
            problems.append(Problem("", where, "renamed column", f"{name!r} is now {kept!r}", kept=True))
        made[kept] = _undictionaried(table.column(name))
    _remark(problems, labels[0], names, where)
    return ImageSet(source, pa.table(made), names, rows=rows, problems=problems)


def _fitting(name: str, column: pa.ChunkedArray, classes: int) -> Any:
    """A column named ``target`` or ``weight`` as an image set means it; None where it means something else."""
    if name == "weight" and pa.types.is_floating(column.type):
        return column
    if name == "target" and (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        try:
            return column.cast(pa.list_(pa.float32(), classes))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
    return None


def _ids(
    table: pa.Table, column: str | None, named: bool, ids: Sequence[str], where: str, problems: Problems
) -> pa.Array:
    if column is None:
        return pa.array(ids, pa.string())
    values = _undictionaried(table.column(column))
    if values.null_count:
        if named:
            raise BadData(f"The id column {column!r} of {where} has empty cells.", "Give every sample an id.")
        detail = f"{column!r} has {values.null_count} empty cells: samples are called by their files"
        problems.append(Problem("", where, "ids not taken", detail, kept=True))
        return pa.array(ids, pa.string())
    return values.cast(pa.string())


def splits(column: pa.ChunkedArray) -> pa.Array:
    """Split names as text: ``train``, ``val`` and ``test`` wherever the data plainly means them, else its own words."""
    texts = [None if value is None else _text(value) for value in column.to_pylist()]
    words = _NUMBERED if {text for text in texts if text is not None} <= set(_NUMBERED) else SPLITS
    return pa.array([None if text is None else words.get(text.lower(), text) for text in texts], pa.string())


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _undictionaried(column: Any) -> Any:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _flat(column: Any) -> Any:
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return chunk.flatten() if pa.types.is_list(chunk.type) else chunk


def _voices(columns: list[Any], labels: list[NDArray[np.int64]]) -> pa.Array:
    """Annotators' labels as lists, -1 where a person gave none."""
    if len(columns) == 1 and pa.types.is_list(columns[0].type):
        offsets = columns[0].combine_chunks().offsets
        return pa.ListArray.from_arrays(pa.array(np.asarray(offsets) - offsets[0].as_py(), pa.int32()), labels[0])
    return pa.array(np.stack(labels, axis=1).tolist(), pa.list_(pa.int64()))


def index_labels(
    columns: Sequence[Any], classes: Sequence[str] | None, where: str
) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Label columns as class indices (-1 where unknown), and the class names.

    Names are sorted. Whole numbers keep their number as index and name, so that they stay what a model calls them,
    and -1 means unknown; numbers that are below that, or that are only -1 and 1 as in CelebA, are names like others.

    Raises:
        BadData: a label lies outside ``classes``.
    """
    coded = [_coded(column) for column in columns]
    values = sorted({v for _, words in coded for v in words if v is not None}, key=lambda v: (isinstance(v, str), v))
    names, place = _named(values, classes, where) if classes is not None else _own_names(values)
    found = []
    for codes, words in coded:
        lookup = np.array([*(-1 if word is None else place[word] for word in words), -1], dtype=np.int64)
        found.append(lookup[codes])  # code -1 (null) picks the -1 at the end
    return found, names


def _coded(column: Any) -> tuple[NDArray[np.int64], list[int | str | None]]:
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(chunk, pa.ChunkedArray):
        chunk = pa.concat_arrays(chunk.chunks) if chunk.num_chunks else pa.array([], chunk.type)
    if pa.types.is_null(chunk.type):
        return np.full(len(chunk), -1, dtype=np.int64), []
    coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [_word(value) for value in coded.dictionary.to_pylist()]


def _word(value: Any) -> int | str | None:
    if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


_LARGEST_NUMBERED = 100_000  # beyond, numbers are names (years, identifiers) and not places in a class list


def _own_names(values: list[int | str]) -> tuple[tuple[str, ...], dict[int | str, int]]:
    numbers = [value for value in values if isinstance(value, int)]
    counting = numbers and len(numbers) == len(values) and min(numbers) >= -1 and max(numbers) < _LARGEST_NUMBERED
    if counting and numbers != [-1, 1]:
        return tuple(map(str, range(max(numbers) + 1))), {number: number for number in numbers}
    words = [str(value) for value in values] if len(numbers) == len(values) else sorted({str(v) for v in values})
    place = {word: number for number, word in enumerate(words)}
    return tuple(words), {value: place[str(value)] for value in values}


def _named(values: list[int | str], classes: Sequence[str], where: str) -> tuple[tuple[str, ...], dict[int | str, int]]:
    names = tuple(map(str, classes))
    place: dict[int | str, int] = {name: number for number, name in enumerate(names)}
    by_name = all(str(value) in place for value in values)
    found: dict[int | str, int] = {}
    for value in values:
        if by_name or isinstance(value, str):
            index = place.get(str(value), -2)
        else:
            index = value if -1 <= value < len(names) else -2
        if index == -2:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise BadData(
                f"The label {value!r} in {where} is outside the {len(names)} classes ({shown}).",
                "Give the full class list (--names, or classes=), or correct the label.",
            )
        found[value] = index
    return names, found


def _remark(problems: Problems, labels: NDArray[np.int64], names: tuple[str, ...], where: str) -> None:
    """Note classes without samples, and data of one class."""
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    if not counts.sum():
        problems.append(Problem("", where, "no labels", "every label is unknown", kept=True))
        return
    if unknown := int((labels < 0).sum()):
        problems.append(Problem("", where, "unknown label", f"{unknown} samples have none", kept=True))
    empty = [names[k] for k in np.flatnonzero(counts == 0)]
    for name in empty[:100]:
        problems.append(Problem("", where, "empty class", f"{name!r} has no samples", kept=True))
    if np.count_nonzero(counts) == 1:
        only = names[int(counts.argmax())]
        problems.append(Problem("", where, "one class", f"every labelled sample is {only!r}", kept=True))
