"""Decoding in parallel with bounded memory: the one way over images that need not fit.

Threads, not processes: Pillow gives up the interpreter's lock while it decodes and resizes, so threads keep the cores
busy without copying pixels between processes, and a source needs no pickling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.side_by_side import cores
from kintsugi.data.remembered import Remembered
from kintsugi.data.source import BadImage, Problem, picture_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

    Gather = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    Pair = tuple[NDArray[np.int64], NDArray[np.uint8]]

FITS = ("crop", "squash", "pad")
_CHUNK = 8  # images a job: enough to hide the cost of handing work to a thread, few enough to share it evenly
_SMALL = 48 * 48  # pixels up to which threads mostly wait for the interpreter, so that a second one gains nothing


def resized(
    image: NDArray[np.uint8] | Image.Image,
    size: tuple[int, int],
    fit: str = "crop",
) -> NDArray[np.uint8]:
    """Bring one image (``[H, W, 3]``, ``[H, W]`` or a picture) to ``size`` (height, width).

    Bilinear with antialiasing. ``crop`` scales the short side and cuts the centre, ``squash`` ignores the shape, both
    pixel for pixel as torchvision does with Pillow images; ``pad`` fits inside black.
    """
    height, width = size
    if isinstance(image, np.ndarray) and image.shape == (height, width, 3):
        return image
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if (picture.height, picture.width) == (height, width):
        return np.asarray(picture)
    if fit == "squash":
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    wide = height * picture.width >= width * picture.height  # wider than the wanted shape
    if (fit == "crop") == wide:
        inner = (max(1, int(height * picture.width / picture.height)), height)
    else:
        inner = (width, max(1, int(width * picture.height / picture.width)))
    scaled = picture if picture.size == inner else picture.resize(inner, Image.Resampling.BILINEAR)
    left, top = round((inner[0] - width) / 2.0), round((inner[1] - height) / 2.0)
    return np.asarray(scaled.crop((left, top, left + width, top + height)))


def stream(
    data: ImageSet,
    batch_size: int = 64,
    *,
    size: tuple[int, int] | None = None,
    fit: str = "crop",
    mixed: bool = False,
    enlarge: bool = True,
    workers: int | None = None,
    ahead: bool = True,
    order: Iterable[Sequence[int]] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Batches of decoded images, in order.

    At most the batch being given out and the next two are in memory; images far larger than ``size`` are shrunk on
    loading.

    Args:
        data: the image set.
        batch_size: images a batch; ignored when ``order`` is given.
        size: (height, width); None keeps the images' own size.
        fit: ``crop``, ``squash`` or ``pad``.
        mixed: images of a batch may differ in size: those of one size are given out together, in order of the first.
        enlarge: False leaves images that are no larger than ``size``, either way, as they are.
        workers: decoding threads; None takes one a core (one alone for small images, by the first), 0 decodes in this
            thread.
        ahead: False where little is done with a batch: small images are then decoded in this thread, since a second
            would mostly wait for the interpreter.
        order: index batches, such as a sampler's; None walks once over the set. Read two batches ahead.

    Yields:
        Rows int64 ``[B]`` and images uint8 ``[B, H, W, 3]``; bad images are recorded in ``data.problems`` and left out.

    Raises:
        BadArgument: a parameter is not allowed.
        BadData: the images of a batch differ in size, and ``mixed`` is False.
    """
    one_of("fit", fit, FITS)
    require(batch_size >= 1, "batch_size", batch_size, "a whole number from 1")
    require(workers is None or workers >= 0, "workers", workers, "a whole number from 0, or None")
    require(size is None or (len(size) == 2 and min(size) >= 1), "size", size, "(height, width), both from 1")
    size = None if size is None else (int(size[0]), int(size[1]))
    plan = order if order is not None else np.split(np.arange(len(data)), range(batch_size, len(data), batch_size))
    batches = (np.asarray(rows, dtype=np.int64) for rows in plan)
    decoder = _Decoder(data, size, fit, mixed, enlarge)
    gather: Gather | None = getattr(data.source, "gather", None)
    if gather is not None and len(data) and decoder.keeps(gather(data.rows[:1]).shape[1:3]):
        return _gathered(data, batches, gather)
    threads = _threads(data, int(ahead)) if workers is None else workers
    return decoder.inline(batches) if threads == 0 else decoder.parallel(batches, threads)


def none_read(data: ImageSet, what: str = "") -> BadData:
    """The error for a pass that met no image it could read, with the reasons."""
    return BadData(
        f"None of the {len(data)} {what}images could be read ({data.problems.counted(data.ids)}).",
        "Restore them, or name other images.",
    )


def _threads(data: ImageSet, small: int) -> int:
    tell = getattr(data.source, "shape", None)
    if tell is None or not len(data):
        return cores()
    try:
        height, width = tell(int(data.rows[0]))
    except BadImage:  # the pass meets it again, and records it
        return cores()
    return small if height * width <= _SMALL else cores()


def _gathered(data: ImageSet, batches: Iterable[NDArray[np.int64]], gather: Gather) -> Iterator[Pair]:
    for rows in batches:
        if len(rows):
            yield rows, gather(data.rows[rows])


class _Decoder:
    """One pass over an image set."""

    def __init__(self, data: ImageSet, size: tuple[int, int] | None, fit: str, mixed: bool, enlarge: bool) -> None:
        self.data, self.size, self.fit, self.mixed, self.enlarge = data, size, fit, mixed, enlarge

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether images of this height and width are given out as they are."""
        if self.size is None or self.size == shape:
            return True
        return not self.enlarge and shape[0] <= self.size[0] and shape[1] <= self.size[1]

    def inline(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[Pair]:
        for rows in batches:
            yield from self._batch(rows, self._decode(rows))

    def parallel(self, batches: Iterable[NDArray[np.int64]], threads: int) -> Iterator[Pair]:
        """Decode ahead, at most two batches beyond the one given out."""
        waiting: deque[tuple[NDArray[np.int64], list[Future[list[NDArray[np.uint8] | BadImage]]]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            source = iter(batches)
            while True:
                while len(waiting) < 3 and (rows := next(source, None)) is not None:
                    chunk = max(1, len(rows)) if threads == 1 else min(_CHUNK, -(-max(len(rows), 1) // threads))
                    parts = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
                    waiting.append((rows, [pool.submit(self._decode, part) for part in parts]))
                if not waiting:
                    return
                rows, jobs = waiting.popleft()
                yield from self._batch(rows, chain.from_iterable(job.result() for job in jobs))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8] | BadImage]:
        return [self._image(int(self.data.rows[row])) for row in rows]

    def _image(self, row: int) -> NDArray[np.uint8] | BadImage:
        try:
            if self.size is None:
                return self.data.source.read(row)
            source = self.data.source
            if isinstance(source, Remembered):
                pixels = source.pixels(row, self.size)
                return pixels if self.keeps(pixels.shape[:2]) else resized(pixels, self.size, self.fit)
            picture = picture_of(source, row, self.size)
            kept = self.keeps((picture.height, picture.width))
            return np.asarray(picture) if kept else resized(picture, self.size, self.fit)
        except BadImage as error:
            return error

    def _batch(self, rows: NDArray[np.int64], found: Iterable[NDArray[np.uint8] | BadImage]) -> Iterator[Pair]:
        kept, images = [], []
        for row, image in zip(rows, found, strict=True):
            if isinstance(image, BadImage):
                self.data.problems.append(Problem(self.data.ids[int(row)], image.where, image.reason, image.detail))
            else:
                kept.append(int(row))
                images.append(image)
        if not kept:
            return
        shapes = dict.fromkeys(image.shape for image in images)
        if self.mixed:
            for shape in shapes:
                alike = [place for place, image in enumerate(images) if image.shape == shape]
                yield np.array([kept[place] for place in alike]), np.stack([images[place] for place in alike])
            return
        if len(shapes) > 1:
            some = ", ".join(f"{height} x {width}" for height, width, _ in sorted(shapes)[:3])
            raise BadData(
                f"The images differ in size ({some}...).",
                "Give the size they are brought to: --size SIDE, or size=(height, width).",
            )
        yield np.asarray(kept, dtype=np.int64), np.stack(images)
