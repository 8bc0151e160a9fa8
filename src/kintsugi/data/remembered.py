"""Pixels that were decoded once, kept for the next pass over them as far as a bound on memory allows.

Several checks look at the same images one after the other. Of small images a whole set fits into memory; of large
ones the first that fit are kept and the others decoded again, so that memory stays bounded however large the set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kintsugi.data.decode import shrinkage
from kintsugi.data.source import BadImage, Pictures, Problem, Source, picture_of, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

T = TypeVar("T")
_LOCKS = 64  # rows that share one wait for each other, which is rare
_OBJECT = 256  # bytes that Python takes for each array besides its pixels


class Remembered:
    """A source that gives what another gives, and decodes again only what it could not keep.

    An image that cannot be read is tried once at each size: later passes meet the same :class:`BadImage`.

    Args:
        source: the images.
        most: bytes of pixels that are kept at most.

    Attributes:
        hashes: of each image's pixels, for whoever takes one to leave it to the next; None where nobody did.
    """

    def __init__(self, source: Source, most: int) -> None:
        self.source, self.most = source, most
        self.hashes: list[bytes | None] = [None] * len(source)
        self._shrinks = isinstance(source, Pictures)  # asked once: it is slow beside a small image
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._bad: dict[tuple[int, tuple[int, int] | None], BadImage] = {}  # by row and `enough`
        self._held = 0
        self._lock = threading.Lock()
        self._decoding = tuple(threading.Lock() for _ in range(_LOCKS))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str:
        """The source's own: it is the same data."""
        return self.source.fingerprint

    @property
    def notes(self) -> dict[int, Problem]:
        """Harmless oddities that the source met while decoding, by row."""
        found: dict[int, Problem] = getattr(self.source, "notes", {})
        return found

    @property
    def shape(self) -> Callable[[int], tuple[int, int]] | None:
        """What tells (height, width) of one image as stored, where the source can tell."""
        return getattr(self.source, "shape", None)

    def find(self, row: int) -> tuple[Source, int]:
        """The source, and the row there: who wants encoded bytes takes them from it."""
        return self.source, row

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image."""
        if (kept := self._kept.get(row)) is not None:
            return kept
        with self._decoding[row % _LOCKS]:  # who comes second waits, and finds it kept
            kept = self._kept.get(row)
            return self._keep(row, self._tried(row, None, lambda: self.source.read(row))) if kept is None else kept

    def picture(self, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
        """One image as a picture."""
        from PIL import Image

        return Image.fromarray(self.pixels(row, enough))

    def pixels(self, row: int, enough: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The very pixels of the picture that the source gives for ``enough``."""
        if (kept := self._fitting(row, enough)) is not None:
            return kept
        with self._decoding[row % _LOCKS]:
            kept = self._fitting(row, enough)
            return self._made(row, enough) if kept is None else kept

    def _fitting(self, row: int, enough: tuple[int, int] | None) -> NDArray[np.uint8] | None:
        """What was kept, where the source would give no smaller picture."""
        kept = self._kept.get(row)
        return kept if kept is None or enough is None or shrinkage(kept.shape[0], kept.shape[1], enough) < 2 else None

    def _made(self, row: int, enough: tuple[int, int] | None) -> NDArray[np.uint8]:
        made = np.asarray(self._tried(row, enough, lambda: picture_of(self.source, row, enough)))
        return self._keep(row, made) if row not in self._kept and self._whole(row, enough) else made

    def _whole(self, row: int, enough: tuple[int, int] | None) -> bool:
        """Whether pictures are given unshrunk."""
        if enough is None or not self._shrinks:
            return True
        return shrinkage(*shape_of(self.source, row), enough) < 2

    def _tried(self, row: int, enough: tuple[int, int] | None, read: Callable[[], T]) -> T:
        if (known := self._bad.get((row, enough))) is not None:
            raise BadImage(known.where, known.reason, known.detail)
        try:
            return read()
        except BadImage as error:
            self._bad[row, enough] = BadImage(error.where, error.reason, error.detail)
            raise

    def _keep(self, row: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = image.nbytes + _OBJECT
        with self._lock:
            if row in self._kept or self._held + size > self.most:
                return image
            self._held += size
        image = image.view()
        image.flags.writeable = False  # the next to read it gets the same one
        self._kept[row] = image
        return image
