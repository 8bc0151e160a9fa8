"""Decoding in parallel with bounded memory: the one way over images that need not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kintsugi.core.errors import one_of
from kintsugi.data.source import BadImage, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

FITS = ("crop", "squash", "pad")


def resized(image: NDArray[np.uint8], size: tuple[int, int], fit: str = "crop") -> NDArray[np.uint8]:
    """Bring one image ``[H, W, 3]`` to ``size`` (height, width), bilinear with antialiasing.

    ``crop`` scales the short side and cuts the centre, ``squash`` ignores the shape, ``pad`` fits inside black.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image)
    if fit == "squash":
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    scale = (max if fit == "crop" else min)(height / picture.height, width / picture.width)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    scaled = picture.resize(inner, Image.Resampling.BILINEAR)
    left, top = (inner[0] - width) // 2, (inner[1] - height) // 2
    return np.asarray(scaled.crop((left, top, left + width, top + height)))


def stream(
    data: ImageSet,
    batch_size: int = 64,
    *,
    size: tuple[int, int] | None = None,
    fit: str = "crop",
    workers: int | None = None,
    order: Iterable[Sequence[int]] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Batches of decoded images.

    Args:
        data: the image set.
        batch_size: images a batch; ignored when ``order`` is given.
        size: (height, width); None keeps the images' own size, which must then be the same for all.
        fit: ``crop``, ``squash`` or ``pad``.
        workers: decoding threads; None takes one a core, 0 decodes in this thread.
        order: index batches, such as a sampler's; None walks once over the set.

    Yields:
        Rows int64 ``[B]`` and images uint8 ``[B, H, W, 3]``; bad images are recorded in ``data.problems`` and left out.
    """
    one_of("fit", fit, FITS)
    plan = order if order is not None else np.split(np.arange(len(data)), range(batch_size, len(data), batch_size))
    for rows in plan:
        kept, images = [], []
        for row in rows:
            try:
                image = data.source.read(int(data.rows[row]))
            except BadImage as error:
                data.problems.append(Problem(data.ids[int(row)], error.where, error.reason, error.detail))
                continue
            kept.append(row)
            images.append(image if size is None else resized(image, size, fit))
        if kept:
            yield np.asarray(kept, dtype=np.int64), np.stack(images)
