"""NumPy archives: ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``... whose endings are the splits.

Images are uint8 ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with one or three channels. Other arrays of one
value an image become columns: ``camera``, or ``camera_train`` and ``camera_test``; those named by ``annotators`` may
cover one split only. Nothing is unpickled.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.columns import SPLITS, Columns, assemble
from kintsugi.data.masks import pack_masks
from kintsugi.data.source import ArraySource, Joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

_IMAGES = ("x", "images", "image", "data", "arr_0")
_LABELS = ("y", "labels", "label", "targets", "arr_1")


def recognises(path: Path) -> bool:
    """Whether ``path`` is an npz file."""
    return path.is_file() and path.suffix.lower() == ".npz"


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Read an archive into memory.

    ``path`` and ``label`` name the arrays of images and labels where they have other names than the usual.

    Raises:
        BadData: it is no such archive, holds no images, or arrays differ in length.
        BadArgument: a named array is not there.
    """
    columns = columns or Columns()
    arrays = _load(Path(path))
    parts = _parts(arrays, columns, str(path))
    image_name, label_name = parts.image, parts.label
    sources, made = [], []
    for ending, split in parts.endings.items():
        image = _images(arrays[image_name + ending], f"{image_name}{ending} in {path}")
        facts = {} if split is None else {"split": pa.array([split] * len(image), pa.string())}
        if label_name is not None and label_name + ending in arrays:
            facts["label"] = _values(arrays[label_name + ending], len(image), f"{label_name}{ending} in {path}")
        for name in parts.columns:
            array = arrays.get(name + ending)
            if array is None and name in arrays and len(arrays[name]) == len(image):
                array = arrays[name]
            if array is not None:
                facts[name] = _values(array, len(image), f"{name}{ending} in {path}", mask=name == "mask")
        sources.append(ArraySource(image))
        facts["_row"] = pa.array(range(len(image)), pa.int64())
        made.append(pa.table(facts))
    table = pa.concat_tables(made, promote_options="permissive")
    many = len(sources) > 1
    ids = [f"{split}/{n:06d}" if many else f"{n:06d}" for split, part in zip(parts.endings.values(), made, strict=True)
           for n in range(len(part))]  # fmt: skip
    named = Columns(**{**vars(columns), "path": None, "label": "label" if label_name is not None else None})
    source = Joined(sources) if many else sources[0]
    return assemble(source, table, named, ids=ids, where=str(path), used=("_row",))


class _Parts:
    """Which arrays are the images, the labels and the columns, and by which endings they are split."""

    def __init__(self, image: str, label: str | None, endings: dict[str, str | None], columns: list[str]) -> None:
        self.image, self.label, self.endings, self.columns = image, label, endings, columns


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise BadData(f"{path} holds one array.", "Give an .npz with images x and labels y.")
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise BadData(
            f"{path} cannot be read as a NumPy archive ({str(error).splitlines()[0]}).",
            "Give an .npz of plain arrays; object arrays would need unpickling, which executes code.",
        ) from error


def _parts(arrays: dict[str, NDArray[Any]], columns: Columns, where: str) -> _Parts:
    known = list(arrays)
    image = columns.path or next((n for n in _IMAGES for k in known if k == n or _ending(k, n) is not None), None)
    endings = {} if image is None else {k[len(image) :]: _ending(k, image) for k in known if _ending(k, image)}
    if image is None or (image not in arrays and not endings):
        what = f"path={columns.path!r}: {where} has" if columns.path else f"{where} has"
        raise BadArgument(f"{what} no such array of images.", f"Name it with path; it has: {', '.join(known)}.")
    found: dict[str, str | None] = dict(endings) if image not in arrays else {"": None}
    stems = {name.removesuffix(ending) for name in known for ending in found if ending and name.endswith(ending)}
    whole = {name for name in known if arrays[name].ndim >= 1}
    label = columns.label or next((n for n in _LABELS if n in stems or n in whole), None)
    named = (*columns.attributes, *columns.annotators, columns.id, columns.mask, columns.caption, columns.split)
    for name in (label, *named):
        if name is not None and name not in stems and name not in arrays:
            raise BadArgument(f"{where} has no array {name!r}.", f"It has: {', '.join(known)}.")
    lengths = {len(arrays[image + ending]) for ending in found}
    extra = sorted(stems | {n for n in whole if "" in found and len(arrays[n]) in lengths})
    pool = [name for name in extra if name not in (image, label)]
    plain = [n for n in pool if n == "mask" or any(arrays[n + e].ndim == 1 for e in found if n + e in arrays)]
    wanted = dict.fromkeys([*plain, *(name for name in named if name is not None)])
    return _Parts(image, label, found, list(wanted))


def _ending(name: str, stem: str) -> str | None:
    """The split told by the ending of ``x_train``; None where there is none."""
    return SPLITS.get(name[len(stem) + 1 :].lower()) if name.startswith(f"{stem}_") else None


def _images(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise BadData(
            f"{where} has dtype {array.dtype} and shape {array.shape}:",
            "give uint8 [N, H, W], [N, H, W, C] or [N, C, H, W]; floats do not say what range they have.",
        )
    channels_first = array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3)
    return array.transpose(0, 2, 3, 1) if channels_first else array


def _values(array: NDArray[Any], count: int, where: str, *, mask: bool = False) -> pa.Array:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if len(array) != count or array.ndim != (3 if mask else 1):
        raise BadData(f"{where} has shape {array.shape} for {count} images:", "give one value an image.")
    return pack_masks(array > 0) if mask else pa.array(array.tolist())
