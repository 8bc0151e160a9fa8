"""Hugging Face ``datasets``: a name on the hub (``hf:NAME`` or ``hf:NAME/CONFIG`` for three-part names), a folder
saved to disk, an Arrow file, or the objects themselves. Images stay encoded in the Arrow file until needed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.optional import need
from kintsugi.data.columns import SPLITS, Columns, assemble
from kintsugi.data.confine import Folder
from kintsugi.data.encoded import Encoded
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage

if TYPE_CHECKING:
    import datasets

    from kintsugi.data.decode import Content

_SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")
_HUB = re.compile(r"hf:(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?(@(?P<split>[\w.\-\[\]:%+]+))?")


def recognises(path: Path) -> bool:
    """Whether ``path`` is a folder that ``datasets`` saved, or an Arrow file."""
    return any((path / name).is_file() for name in _SAVED) or (path.is_file() and path.suffix.lower() == ".arrow")


def accepts(data: object) -> bool:
    """Whether ``data`` is a Dataset or DatasetDict; ``datasets`` is not imported to find out."""
    return type(data).__module__.split(".")[0] == "datasets"


def read(data: Any, columns: Columns | None = None) -> ImageSet:
    """Read a name, a path or an object. The splits of a dictionary become the column ``split``.

    Args:
        data: ``hf:NAME``, ``hf:NAME:CONFIG``, ``hf:NAME@SPLIT``, a path, a ``Dataset`` or a ``DatasetDict``.
        columns: what the columns mean; ``path`` names the column of images.

    Raises:
        BadData: it cannot be had, or has no images.
        BadArgument: a named column is not there.
        MissingDependency: ``datasets`` is not installed.
    """
    columns = columns or Columns()
    where = str(data) if isinstance(data, str | Path) else f"the {type(data).__name__}"
    if isinstance(data, str | Path):
        data = _load(str(data))
    if isinstance(data, dict):
        parts = [_read(part, columns, f"{where} {name}", SPLITS.get(name.lower(), name)) for name, part in data.items()]
        return _concat(parts, where)
    if not hasattr(data, "features") or not hasattr(data, "num_rows"):
        raise BadData(
            f"{where} is a stream without random access.",
            "Load the Dataset itself: load_dataset(..., streaming=False).",
        )
    return _read(data, columns, where, None)


def _load(name: str) -> Any:
    library = need("datasets", "data")
    if not name.startswith("hf:"):
        path = Path(name)
        try:
            return library.Dataset.from_file(name) if path.is_file() else library.load_from_disk(name)
        except (FileNotFoundError, OSError, ValueError, pa.ArrowInvalid) as error:
            raise BadData(f"{name} is not a saved dataset ({error}).", "Save it again with save_to_disk.") from error
    found = _HUB.fullmatch(name)
    if found is None:
        raise BadArgument.of("data", name, "hf:NAME, hf:NAME:CONFIG or hf:NAME@SPLIT")
    try:
        return library.load_dataset(found["name"], found["config"], split=found["split"])
    except Exception as error:  # a network, a hub and a builder can fail in any way; all mean the same here
        raise BadData(
            f"{name} cannot be had from the Hugging Face hub ({(str(error) or repr(error)).splitlines()[0]}).",
            "Check the name and the network, or download it first and name the folder.",
        ) from error


def _read(data: datasets.Dataset, columns: Columns, where: str, split: str | None) -> ImageSet:
    library = need("datasets", "data")
    images = [name for name, feature in data.features.items() if isinstance(feature, library.Image)]
    column = columns.path if columns.path in data.features else None
    column = column or next((name for name in images if name != columns.mask), None)
    if column is None or (columns.path is not None and column != columns.path):
        raise BadArgument(
            f"{where} has no column of images{f' {columns.path!r}' if columns.path else ''}.",
            f"Name it with path; it has: {', '.join(data.features)}.",
        )
    if not isinstance(data.features[column], library.Image):
        data = data.cast_column(column, library.Image())
    for name in images:  # masks too stay encoded
        data = data.cast_column(name, library.Image(decode=False))
    rest = data.remove_columns([column])
    table = rest.with_format("arrow")[:] if rest.column_names else pa.table({"row": pa.array(range(len(data)))})
    table = table.replace_schema_metadata(None)
    label = columns.find("label", rest.column_names, where)
    feature = rest.features.get(label) if label is not None else None
    classes = feature.names if isinstance(feature, library.ClassLabel) else None
    if split is not None and columns.split is None:
        kept = table.drop_columns([name for name in ("split",) if name in table.column_names])
        table = kept.append_column("split", pa.array([split] * len(kept), pa.string()))
    ids = [f"{number:08d}" if split is None else f"{split}/{number:08d}" for number in range(len(table))]
    return assemble(Cells(data, column, columns.root), table, columns, ids=ids, where=where, classes=classes)


def _concat(parts: list[ImageSet], where: str) -> ImageSet:
    if not parts:
        raise BadData(f"{where} has no splits.", "Name a dataset with images.")
    names = sorted({name for part in parts for name in part.classes})
    if len({part.classes for part in parts}) > 1:  # undeclared classes differ by what occurs in each split
        numbers = all(name.isdigit() for name in names)
        longest = max((part.classes for part in parts), key=len)
        classes = longest if numbers else tuple(names)
        parts = [_with_classes(part, classes) for part in parts]
    return ImageSet.concat(parts)


def _with_classes(part: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    place = [classes.index(name) for name in part.classes]
    labels = [-1 if label < 0 else place[label] for label in part.labels]
    column = part.table.column_names.index("label")
    table = part.table.set_column(column, "label", pa.array(labels, pa.int64()))
    return ImageSet(part.source, table, classes, rows=part.rows, problems=part.problems)


class Cells(Encoded):
    """The encoded images of one column of a ``Dataset``.

    Args:
        data: the dataset, its image column not decoded.
        column: the column.
        root: folder of images that are stored as paths; they must lie inside it. None allows embedded images, and
            files where the dataset itself says they are.
    """

    def __init__(self, data: datasets.Dataset, column: str, root: Path | None) -> None:
        super().__init__()
        self._data = data.select_columns([column])
        self.column = column
        self._folder = None if root is None else Folder(root)

    def __len__(self) -> int:
        return int(self._data.num_rows)

    def encoded(self, row: int) -> Content:
        """The bytes of one image, or its file.

        Raises:
            BadImage: the cell is empty.
        """
        cell = self._data[row][self.column]
        if cell is None or (not cell.get("bytes") and not cell.get("path")):
            raise BadImage(self.where(row), "missing", "the cell is empty")
        if cell.get("bytes"):
            return bytes(cell["bytes"])
        return Path(cell["path"]) if self._folder is None else self._folder.file(cell["path"])

    def where(self, row: int) -> str:
        """Column and row."""
        return f"{self.column} row {row}"
