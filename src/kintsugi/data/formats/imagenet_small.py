"""Downsampled ImageNet: ``train_data_batch_1`` ... ``_10`` and ``val_data``, pickles of images at 8 to 64 pixels.

Chrabaszcz, Loshchilov and Hutter, "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets",
arXiv:1707.08819. Each pickle is a dictionary: ``data`` uint8 ``[N, 3 * S * S]``, all red values of an image row by row,
then green, then blue; ``labels`` from 1 to K; in the train batches ``mean``, the mean image over all of training (not
one number a channel). Pickles are read without running them (:mod:`kintsugi.data.formats.plain_pickle`).

Labels are numbers of the devkit's order, which is neither the sorted order of torchvision nor alphabetical: a
``map_clsloc.txt`` beside the batches (``wnid number name`` a line, as published with the data) names them. Without
it the numbers are the names, from 1 on. The layout has no room for ids and other columns: they are not written.
Training images are written in the data's order, where the official scripts shuffle them.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.errors import BadData
from kintsugi.core.files import atomic
from kintsugi.data.columns import Columns, assemble
from kintsugi.data.export import staged
from kintsugi.data.formats.plain_pickle import load
from kintsugi.data.source import ArraySource, Joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

BATCHES = 10
NAMES = "map_clsloc.txt"
_TRAIN = re.compile(r"train_data_batch_(\d+)")
_PROTOCOL = 4  # read by every Python since 3.4


def recognises(path: Path) -> bool:
    """Whether ``path`` is a folder of such batches."""
    return any((path / name).is_file() for name in ("train_data_batch_1", "val_data"))


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Read all batches into memory.

    Raises:
        BadData: a batch is missing its data or labels, sizes differ, or a pickle holds more than plain data.
    """
    columns, root = columns or Columns(), Path(path)
    columns.refuse(str(path), "label", "split", "attributes", "id", "path", "mask", "caption", "annotators", "root")
    sources, labels = [], []
    ids: list[str] = []
    split: list[str] = []
    for file, part in _files(root):
        image, label, _ = _batch(file)
        start = split.count(part)
        sources.append(ArraySource(image))
        labels.append(label)
        ids += [f"{part}/{start + n:07d}" for n in range(len(label))]
        split += [part] * len(label)
    if not sources:
        raise BadData(f"{path} holds no train_data_batch_1 or val_data.", "Name the folder with the batches.")
    sizes = {source.image.shape[1] for source in sources}
    if len(sizes) > 1:
        raise BadData(f"The batches in {path} are of sizes {sorted(sizes)}.", "Keep one size in a folder.")
    number = np.concatenate(labels)
    names = list(columns.classes) if columns.classes is not None else _names(root, int(number.max(initial=1)))
    if len(number) and not 1 <= int(number.min()) <= int(number.max()) <= len(names):
        raise BadData(
            f"The labels in {path} lie in {number.min()}..{number.max()}, the names in 1..{len(names)}.",
            f"Labels of this layout start at 1; complete {NAMES}.",
        )
    called = pa.DictionaryArray.from_arrays(pa.array(number - 1, pa.int32()), pa.array(names, pa.string()))
    table = pa.table({"label": called, "split": pa.array(split, pa.string())})
    return assemble(Joined(sources), table, columns, ids=ids, where=str(path), classes=names)


def mean_image(path: Path | str) -> NDArray[np.float64]:
    """The mean over the training images of a folder, float64 ``[S, S, 3]`` in 0..255, as its batches state it.

    Raises:
        BadData: no training batch states it.
    """
    for file, part in _files(Path(path)):
        if part == "train" and (mean := _batch(file)[2]) is not None:
            return mean
    raise BadData(f"No training batch in {path} has a mean image.", "Write the batches anew.")


def write(data: ImageSet, path: Path | str) -> ImageSet:
    """Write ten training batches, ``val_data`` of the split ``val`` or ``test``, and ``map_clsloc.txt``.

    Data without splits is all training data. The mean is that of all training images that could be read.

    Raises:
        BadData: images are of several sizes or not square, a label is unknown, there is another split or both ``val``
            and ``test``, or the folder exists.
        StorageFull: the disk is full; nothing is left behind.
    """
    train, val = _parts(data, str(path))
    if (data.labels < 0).any():
        missing = data.ids[int(np.flatnonzero(data.labels < 0)[0])]
        raise BadData(f"{missing!r} has no label, which this layout has no room for.", "Leave unlabelled images out.")
    if odd := [name for name in data.classes if "\n" in name or "\r" in name]:
        raise BadData(f"The class name {odd[0]!r} does not fit on a line.", "Rename the class.")
    with staged(path) as folder:
        rows, mean = _readable(data, train)
        size = max(1, len(rows) // BATCHES)
        for number in range(BATCHES):
            part = rows[number * size : (number + 1) * size if number < BATCHES - 1 else None]
            if len(part):
                held = {"data": _planes(data, part), "labels": (data.labels[part] + 1).tolist(), "mean": mean}
                _dump(folder / f"train_data_batch_{number + 1}", held)
        rows, _ = _readable(data, val)
        if len(rows):
            _dump(folder / "val_data", {"data": _planes(data, rows), "labels": (data.labels[rows] + 1).tolist()})
        with atomic(folder / NAMES, "w") as stream:
            for number, name in enumerate(data.classes):
                word = "_".join(name.split()) or "_"
                stream.write(f"{word} {number + 1} {name}\n")
    return read(path)


def _files(root: Path) -> list[tuple[Path, str]]:
    """Batches by number, then the validation part."""
    if not root.is_dir():
        return []
    found = [(int(match[1]), file) for file in root.iterdir() if (match := _TRAIN.fullmatch(file.name))]
    train = [(file, "train") for _, file in sorted(found)]
    return train + ([(root / "val_data", "val")] if (root / "val_data").is_file() else [])


def _batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64] | None]:
    """Images ``[N, S, S, 3]``, labels from 1, and the mean image if it is stated."""
    held = load(file)
    data, labels = (held.get("data"), held.get("labels")) if isinstance(held, dict) else (None, None)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or labels is None:
        raise BadData(f"{file} has no uint8 data [N, 3 * S * S] with labels.", "Give batches of downsampled ImageNet.")
    side = math.isqrt(data.shape[1] // 3)
    number = np.asarray(labels)
    if (
        3 * side * side != data.shape[1]
        or number.shape != (len(data),)
        or (len(number) and number.dtype.kind not in "iu")
    ):
        raise BadData(
            f"{file} has data of shape {data.shape} and labels of shape {number.shape}:",
            "give 3 * S * S values and one whole number an image.",
        )
    mean = held.get("mean")
    if mean is not None:
        mean = np.asarray(mean, dtype=np.float64)
        mean = mean.reshape(3, side, side).transpose(1, 2, 0) if mean.size == data.shape[1] else None
    return data.reshape(-1, 3, side, side).transpose(0, 2, 3, 1), number.astype(np.int64), mean


def _names(root: Path, largest: int) -> list[str]:
    """Class names by number; where two classes share a name (the two cranes), the WordNet id tells them apart."""
    file = root / NAMES
    if not file.is_file():
        return [str(number + 1) for number in range(largest)]
    found: dict[int, tuple[str, str]] = {}
    for line in file.read_text(encoding="utf-8").split("\n"):
        words = line.split(" ", 2)
        if len(words) == 3 and words[1].isdecimal():
            found[int(words[1])] = (words[2], words[0])
    if sorted(found) != list(range(1, len(found) + 1)):
        raise BadData(f"{file} does not name the classes 1 to {len(found)}.", "Give lines of: wnid number name.")
    called = [found[number + 1] for number in range(len(found))]
    names = [name for name, _ in called]
    return [name if names.count(name) == 1 else f"{name} ({wnid})" for name, wnid in called]


def _parts(data: ImageSet, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if "split" not in data.columns:
        return np.arange(len(data)), np.zeros(0, dtype=np.int64)
    split = np.array([str(value) for value in data.column("split")])
    others = sorted(set(split.tolist()) - {"train"})
    if len(others) > 1 or not set(others) <= {"val", "test"}:
        raise BadData(f"{where} would have the splits {', '.join(others)}.", "This layout has train, and val or test.")
    return np.flatnonzero(split == "train"), np.flatnonzero(split != "train")


def _readable(data: ImageSet, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows that can be read, and their mean image ``[3 * S * S]``; one batch of images in memory."""
    kept: list[NDArray[np.int64]] = [rows[:0]]
    total = np.zeros(0)
    for part, image in _streamed(data, rows):
        values = image.sum(axis=0, dtype=np.float64)
        if len(kept) > 1 and len(values) != len(total):
            raise BadData("The images are of several sizes:", "downsample them to one first.")
        total = values if len(kept) == 1 else total + values
        kept.append(part)
    found = np.concatenate(kept)
    return found, total / max(1, len(found))


def _planes(data: ImageSet, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Values of images, uint8 ``[n, 3 * S * S]``."""
    return np.concatenate([image for _, image in _streamed(data, rows)])


def _streamed(data: ImageSet, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    order: Any = [rows[start : start + 256] for start in range(0, len(rows), 256)]
    for part, image in data.stream(order=order):
        if image.shape[1] != image.shape[2]:
            raise BadData(f"The images are {image.shape[1]} x {image.shape[2]}:", "downsample them to squares first.")
        yield part, image.transpose(0, 3, 1, 2).reshape(len(image), -1)


def _dump(path: Path, held: dict[str, Any]) -> None:
    with atomic(path) as stream:
        pickle.dump(held, stream, protocol=_PROTOCOL)
