"""Readers and writers, one file a format; :func:`open_data` finds the right one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from kintsugi.core.errors import BadArgument, BadData, one_of
from kintsugi.data.columns import Columns
from kintsugi.data.imageset import ImageSet

# In the order in which they are asked whether they recognise a path; any folder may be an image folder, so it is last.
FORMATS = (
    "view",
    "npz",
    "huggingface",
    "torchvision",
    "imagenet_small",
    "webdataset",
    "parquet",
    "table",
    "folder",
)
WRITERS = ("folder", "parquet", "webdataset")
_SHAPES = """a folder of class folders; a folder with a table that names its files; a CSV, TSV, JSON-lines or Parquet \
table of files; Parquet with encoded images; tar shards; an .npz with x and y; files of CIFAR, MNIST or downsampled \
ImageNet; a folder saved by datasets; a view that audit --apply wrote; hf:NAME; or a Dataset object"""


def open_data(
    data: Any,
    *,
    format: str | None = None,  # noqa: A002 - the word people know
    label: str | None = None,
    split: str | None = None,
    attributes: Sequence[str] = (),
    id: str | None = None,  # noqa: A002 - the contract's name
    path: str | None = None,
    classes: Sequence[str] | None = None,
    mask: str | None = None,
    caption: str | None = None,
    annotators: Sequence[str] = (),
    root: Path | str | None = None,
) -> ImageSet:
    """Open image data, wherever it is.

    Args:
        data: a path, ``hf:NAME``, an :class:`ImageSet`, a Hugging Face or torchvision dataset object.
        format: one of :data:`FORMATS`; by default the one that recognises the path.
        label: name of the label column; by default the first of the usual names that is there.
        split: name of the split column; 0, 1, 2 mean train, val, test.
        attributes: columns to keep as attributes; none named keeps all.
        id: name of the column of stable ids.
        path: name of the column of image files (or of encoded images, or the array of images).
        classes: class names in the order of the model's outputs; by default the sorted names. Whole numbers keep
            their number as name.
        mask: name of the column of masks.
        caption: name of the column of captions.
        annotators: columns of labels by several people.
        root: folder the paths of a table start from.

    Raises:
        BadData: there is nothing there, or it cannot be used; images that cannot be read never raise but are
            recorded in ``problems``.
        BadArgument: an argument is not allowed or names a column that is not there.
        MissingDependency: the format needs a library that is not installed.
    """
    columns = Columns(
        label=label,
        split=split,
        attributes=_names("attributes", attributes),
        id=id,
        path=path,
        mask=mask,
        caption=caption,
        annotators=_names("annotators", annotators),
        classes=None if classes is None else _names("classes", classes),
        root=None if root is None else Path(root),
    )
    if format is not None:
        one_of("format", format, FORMATS)
    if isinstance(data, ImageSet):
        if columns != Columns():
            raise BadArgument("An ImageSet already has its columns.", "Leave the column names out.")
        return data
    if isinstance(data, str | Path):
        return cast(ImageSet, _reader(data, format).read(data, columns))
    for name in ("huggingface", "torchvision"):
        if format in (None, name) and (reader := _module(name)).accepts(data):
            return cast(ImageSet, reader.read(data, columns))
    raise BadArgument(f"data of type {type(data).__name__} is not known.", f"Give {_SHAPES}.")


def write_data(data: ImageSet, path: Path | str, format: str = "folder") -> ImageSet:  # noqa: A002
    """Write a data set in one of :data:`WRITERS`, and open what was written. Never writes over anything.

    Raises:
        BadData: the target exists or cannot be written.
        StorageFull: the disk is full; nothing is left behind.
    """
    one_of("format", format, WRITERS)
    return cast(ImageSet, _module(format).write(data, path))


def detect(path: Path | str) -> str:
    """Name of the format that recognises ``path``.

    Raises:
        BadData: there is nothing there, or no format recognises it.
    """
    place = Path(path)
    if not str(path).strip():
        raise BadArgument.of("data", path, f"a path: {_SHAPES}")
    if str(path).startswith("hf:"):
        return "huggingface"
    if not place.exists():
        raise BadData(f"{path} does not exist.", f"Give {_SHAPES}.")
    for name in FORMATS:
        if _module(name).recognises(place):
            return name
    raise BadData(f"{path} is of no known format.", f"Give {_SHAPES}.")


def _reader(data: Path | str, format: str | None) -> Any:  # noqa: A002
    if format is None or not Path(data).exists():  # a path that is not there is told as such
        found = detect(data)
        return _module(format or found)
    return _module(format)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def _names(argument: str, value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise BadArgument.of(argument, value, "a list of names")
    return tuple(map(str, value))
