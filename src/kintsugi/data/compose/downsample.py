"""All images at a small size: whole, squeezed into a square, lossless. Full-size experiments become cheap.

Chrabaszcz, Loshchilov and Hutter, "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets",
arXiv:1707.08819: the image is not cut, its aspect is ignored, each value of the small image is the mean of the area it
covers (the box filter; the official script's default is Lanczos, the published data sets use box). Of the filters they
compared, taking the nearest value is plainly the worst, since it aliases.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.errors import one_of, require
from kintsugi.core.progress import task
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import ArraySource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.source import Source

FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


class Small:
    """A source whose images are made small when they are read.

    Args:
        source: the images.
        size: side in pixels.
        resample: one of :data:`FILTERS`.
    """

    def __init__(self, source: Source, size: int, resample: str) -> None:
        self.source, self.size, self.resample = source, size, resample

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str:
        """Hash of the images' own, the size and the filter."""
        text = f"{self.source.fingerprint} {self.size} {self.resample}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width)."""
        return self.size, self.size

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image, uint8 ``[S, S, 3]``."""
        picture = Image.fromarray(self.source.read(row))
        return np.asarray(picture.resize((self.size, self.size), FILTERS[self.resample]))


def downsample(data: ImageSet, size: int, resample: str = "box", *, held: bool = True) -> ImageSet:
    """The same samples with small images.

    Args:
        data: images of any sizes.
        size: side in pixels, 1 or more.
        resample: one of :data:`FILTERS`.
        held: keep the small images in memory, ``3 * size * size`` bytes each; else they are made at every reading.

    Images that cannot be read are recorded in ``data.problems`` and, when held, left out.

    Raises:
        BadArgument: the size or the filter is not allowed.
    """
    require(isinstance(size, int) and size >= 1, "size", size, "a side of at least 1 pixel")
    one_of("resample", resample, tuple(FILTERS))
    small = ImageSet(
        Small(data.source, size, resample), data.table, data.classes, rows=data.rows, problems=data.problems
    )
    if not held:
        return small
    rows, images = [np.zeros(0, dtype=np.int64)], [np.zeros((0, size, size, 3), dtype=np.uint8)]
    with task("downsample", len(data)) as tracker:
        for part, image in small.stream(256):
            rows.append(part)
            images.append(image)
            tracker.advance(len(part))
    kept = np.concatenate(rows)
    return ImageSet(ArraySource(np.concatenate(images)), small.select(kept).table, data.classes, problems=data.problems)


def downsample_folder(
    source: Any, target: Path | str, size: int, resample: str = "box", *, form: str = "folder"
) -> ImageSet:
    """Write any data small, without loss, and open what was written.

    Args:
        source: anything :func:`kintsugi.data.formats.open_data` opens.
        target: a new folder.
        size: side in pixels.
        resample: one of :data:`FILTERS`.
        form: a writer of :mod:`kintsugi.data.formats` (images as PNG), or ``imagenet_small`` (ten batches).
    """
    from kintsugi.data.formats import WRITERS, imagenet_small, open_data, write_data

    one_of("form", form, (*WRITERS, "imagenet_small"))
    small = downsample(open_data(source), size, resample, held=False)
    return imagenet_small.write(small, target) if form == "imagenet_small" else write_data(small, target, form)
