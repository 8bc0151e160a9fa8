"""Torchvision (and other map-style) dataset objects, and the files of CIFAR and MNIST already on disk.

The raw images are read, not what the object's transform makes of them: resizing and normalisation belong to the model.
CIFAR's Python batches are pickles: they are read through torchvision, which first checks that they are byte for byte
the published files; others are refused. Its binary batches and the idx files of MNIST and its kin are parsed here.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.errors import BadData
from kintsugi.data.columns import Columns, assemble
from kintsugi.data.confine import printable
from kintsugi.data.encoded import Files
from kintsugi.data.source import ArraySource, BadImage, Joined, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

_CIFAR = {"cifar-10-batches-py": "CIFAR10", "cifar-100-python": "CIFAR100"}
_BINARY = "cifar-10-batches-bin"
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_IDX = {"train": "train", "t10k": "test"}


def recognises(path: Path) -> bool:
    """Whether ``path`` is a folder of CIFAR or MNIST files, or torchvision's root with one in it."""
    return any(_find(path, name) for name in (*_CIFAR, _BINARY)) or _idx_folder(path) is not None


def accepts(data: object) -> bool:
    """Whether ``data`` is a map-style dataset object."""
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes | Path)


def read(data: Any, columns: Columns | None = None) -> ImageSet:
    """Read an object or a folder.

    Raises:
        BadData: the files are not there or not whole, or the object's items are no (image, label).
    """
    columns = columns or Columns()
    if isinstance(data, str | Path):
        return _folder(Path(data), columns)
    where = f"the {type(data).__name__}"
    columns.refuse(where, "label", "split", "attributes", "id", "path", "mask", "caption", "annotators", "root")
    if hasattr(data, "indices") and hasattr(data, "dataset"):  # torch.utils.data.Subset
        return read(data.dataset, columns).select(np.asarray(data.indices, dtype=np.int64))
    source, labels, ids = _object(data, where)
    return _assembled(source, labels, ids, columns, where, getattr(data, "classes", None))


def _assembled(
    source: Source,
    labels: Any,
    ids: Sequence[str],
    columns: Columns,
    where: str,
    classes: Sequence[str] | None,
    **facts: Any,
) -> ImageSet:
    table = pa.table({"label": pa.array(np.asarray(labels).tolist()), **facts})
    return assemble(source, table, columns, ids=ids, where=where, classes=classes)


# ----------------------------------------------------------------------------------------------------- objects


def _object(data: Any, where: str) -> tuple[Source, Any, list[str]]:
    """Images, labels and ids of a dataset object, by whatever it keeps them in."""
    labels = next((getattr(data, name) for name in ("targets", "labels", "_labels") if hasattr(data, name)), None)
    samples = getattr(data, "samples", None)
    if samples is not None and len(samples) and isinstance(samples[0][0], str):  # ImageFolder and its kin
        paths = [Path(path) for path, _ in samples]
        root = Path(getattr(data, "root", "."))
        ids = [printable((p.relative_to(root) if p.is_relative_to(root) else p).as_posix()) for p in paths]
        return Files(paths, ids), [label for _, label in samples], ids
    ids = [f"{number:08d}" for number in range(len(data))]
    held = getattr(data, "data", None)
    if labels is not None and len(labels) == len(data) and (image := _as_images(held, len(data))) is not None:
        return ArraySource(image), np.asarray(labels), ids
    items = Items(data, where)
    if labels is None or len(labels) != len(data):
        labels = [items.item(row)[1] for row in range(len(data))]
    if not all(isinstance(label, int | np.integer) or getattr(label, "ndim", None) == 0 for label in labels):
        raise BadData(f"The labels of {where} are no whole numbers.", "Give (image, class number) items.")
    return items, [int(label) for label in labels], ids


def _as_images(held: Any, count: int) -> NDArray[np.uint8] | None:
    """``data.data`` as uint8 ``[N, H, W(, C)]``, or None."""
    array = np.asarray(held) if held is not None and hasattr(held, "shape") else None
    if array is None or array.dtype != np.uint8 or array.ndim not in (3, 4) or len(array) != count:
        return None
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        return array.transpose(0, 2, 3, 1) if array.shape[1] in (1, 3) else None  # SVHN and STL10 keep [N, C, H, W]
    return array


class Items:
    """Images of any dataset object whose items are (picture, label).

    Args:
        data: the object.
        where: its name in messages.
    """

    def __init__(self, data: Any, where: str) -> None:
        self._data, self._where = data, where

    def __len__(self) -> int:
        return len(self._data)

    @property
    def fingerprint(self) -> str:
        """Hash of all decoded images: an object says nothing cheaper about its content."""
        import hashlib

        digest = hashlib.blake2b(digest_size=16)
        for row in range(len(self)):
            try:
                digest.update(np.ascontiguousarray(self.read(row)).data)
            except BadImage as error:
                digest.update(error.reason.encode())
        return digest.hexdigest()

    def item(self, row: int) -> tuple[Any, Any]:
        """One item.

        Raises:
            BadData: it is not (image, label).
        """
        item = self._data[row]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise BadData(f"Item {row} of {self._where} is not (image, label).", "Wrap it so that items are.")
        return item[0], item[1]

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image as uint8 ``[H, W, 3]``.

        Raises:
            BadImage: it cannot be decoded.
            BadData: it is neither a picture nor uint8.
        """
        from PIL import Image

        from kintsugi.data.decode import upright_rgb

        where = f"{self._where} item {row}"
        try:
            image = self.item(row)[0]
        except OSError as error:
            raise BadImage(where, "corrupt", str(error)) from error
        if isinstance(image, Image.Image):
            return np.asarray(upright_rgb(image))
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise BadData(
                f"The image of {where} has dtype {array.dtype} and shape {array.shape}.",
                "Build the dataset without a transform: resizing and normalisation belong to the model.",
            )
        if array.ndim == 3 and array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
            array = array.transpose(1, 2, 0)
        return ArraySource(array[None]).read(0)


# ------------------------------------------------------------------------------------------------ files on disk


def _find(path: Path, name: str) -> Path | None:
    """A folder called ``name``: ``path`` itself or inside it."""
    return path if path.name == name and path.is_dir() else (path / name if (path / name).is_dir() else None)


def _idx_folder(path: Path) -> Path | None:
    for folder in (path, path / "raw", *sorted(path.glob("*MNIST/raw"))):
        if any(folder.glob("train-images-idx3-ubyte*")) or any(folder.glob("t10k-images-idx3-ubyte*")):
            return folder
    return None


def _folder(path: Path, columns: Columns) -> ImageSet:
    columns.refuse(str(path), "label", "split", "attributes", "id", "path", "mask", "caption", "annotators", "root")
    for name, kind in _CIFAR.items():
        if (found := _find(path, name)) is not None:
            return _cifar(found.parent, kind, columns)
    if (found := _find(path, _BINARY)) is not None:
        parts = {"train": sorted(found.glob("data_batch_*.bin")), "test": sorted(found.glob("test_batch.bin"))}
        records = {split: [_records(file) for file in files] for split, files in parts.items() if files}
        images = {split: np.concatenate([image for image, _ in each]) for split, each in records.items()}
        labels = {split: np.concatenate([label for _, label in each]) for split, each in records.items()}
        return _splits(images, labels, columns, str(path), _CIFAR10)
    if (found := _idx_folder(path)) is not None:
        images, labels = {}, {}
        for stem, split in _IDX.items():
            if (file := next(iter(sorted(found.glob(f"{stem}-images-idx3-ubyte*"))), None)) is not None:
                images[split] = _idx(file, 3)
                labels[split] = _idx(_label_file(found, stem), 1)
        fashion = "fashion" in str(found.resolve()).lower()
        return _splits(images, labels, columns, str(path), _FASHION if fashion else None)
    raise BadData(f"{path} holds no CIFAR or MNIST files.", "Pass the torchvision dataset object instead.")


def _cifar(root: Path, kind: str, columns: Columns) -> ImageSet:
    from torchvision import datasets

    try:
        parts = {split: getattr(datasets, kind)(root, train=split == "train", download=False)
                 for split in ("train", "test")}  # fmt: skip
    except RuntimeError as error:
        raise BadData(
            f"The {kind} files in {root} are not the published ones ({error}).",
            "They are pickles, which execute code when read, so only the published files are: download them again.",
        ) from error
    images = {split: part.data for split, part in parts.items()}
    labels = {split: np.asarray(part.targets) for split, part in parts.items()}
    return _splits(images, labels, columns, str(root), parts["train"].classes)


def _records(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """CIFAR-10's binary records: a label byte, then 3 x 32 x 32 values."""
    raw = np.fromfile(path, dtype=np.uint8)
    if not len(raw) or len(raw) % 3073:
        raise BadData(f"{path} has {len(raw)} bytes, no multiple of 3073.", "Restore the file.")
    records = raw.reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]


def _label_file(folder: Path, stem: str) -> Path:
    found = sorted(folder.glob(f"{stem}-labels-idx1-ubyte*"))
    if not found:
        raise BadData(f"{folder} has images but no {stem}-labels-idx1-ubyte.", "Restore the file.")
    return found[0]


def _idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """An idx file: two zero bytes, type 8 (uint8), the number of axes, their big-endian lengths, the values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path} cannot be unpacked ({error}).", "Restore the file.") from error
    shape = [int.from_bytes(raw[place : place + 4], "big") for place in range(4, 4 + 4 * axes, 4)]
    if raw[:4] != bytes((0, 0, 8, axes)) or len(raw) != 4 + 4 * axes + math.prod(shape):
        raise BadData(f"{path} is not a whole idx file of uint8 with {axes} axes.", "Restore the file.")
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def _splits(
    images: dict[str, NDArray[np.uint8]],
    labels: dict[str, NDArray[Any]],
    columns: Columns,
    where: str,
    classes: Sequence[str] | None,
) -> ImageSet:
    for split, image in images.items():
        if len(image) != len(labels[split]):
            raise BadData(f"{where} has {len(image)} {split} images but {len(labels[split])} labels.", "Restore it.")
    if not images:
        raise BadData(f"{where} holds no images.", "Restore the files.")
    ids = [f"{split}/{number:06d}" for split, image in images.items() for number in range(len(image))]
    splits = pa.array([split for split, image in images.items() for _ in range(len(image))], pa.string())
    sources = [ArraySource(image) for image in images.values()]
    label = np.concatenate(list(labels.values())).astype(np.int64)
    return _assembled(Joined(sources), label, ids, columns, where, classes, split=splits)
