"""One pass over the images: a hash of each one's pixels, and what it is compared by.

Where the images are remembered between checks, so are the hashes: who wants nothing else decodes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.audit.duplicates import picture
from kintsugi.core.progress import task
from kintsugi.data.remembered import Remembered
from kintsugi.data.source import BadImage
from kintsugi.data.stream import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

BATCH, ROOM = 64, 2**24  # images, and pixels, that are decoded together
CHANGED = 2**20  # values of images that are changed together, each of which takes some dozens of bytes


class Seen:
    """What one pass remembers of each readable image.

    Args:
        data: the images, of any size; each is decoded once.
        encoder: whose vectors are kept; None keeps none.
        features: vectors that are known already, float ``[N, D]``.
        pictures: keep small pictures.
        turns: right angles (0, 1, 2 quarters) by which each picture is turned before the encoder sees it.

    Attributes:
        rows: int64 ``[R]``, rows of the readable images; the other attributes follow this order.
        digest: hash of size and pixels of each.
        small: uint8 ``[R, 32, 32, 3]``, empty without ``pictures``.
        vectors: float ``[R, D]``, one column of nothing without encoder and features.
        encodes: whether there are vectors.
        turned: float16 ``[R, turns - 1, D]``, of the picture turned by one quarter, by two.
    """

    def __init__(
        self,
        data: ImageSet,
        encoder: Encoder | None = None,
        features: NDArray[Any] | None = None,
        *,
        turns: int = 1,
        pictures: bool = True,
    ) -> None:
        self._data, self._encoder, self._turns = data, encoder, turns
        self.encodes = encoder is not None or features is not None
        known = _hashes(data)
        digest: dict[int, bytes] = {}
        if not pictures and encoder is None:  # nothing else is wanted of the pixels
            digest = {row: found for row, found in enumerate(known) if found is not None}
        todo = np.array([row for row in range(len(data)) if row not in digest], dtype=np.int64)
        small = np.zeros((len(data) if pictures else 0, picture.SIDE, picture.SIDE, 3), dtype=np.uint8)
        made: dict[int, NDArray[np.float32]] = {}  # [turns, D]
        with task("look for duplicates", len(todo)) as tracker:
            for rows, image in data.stream(order=_batches(data, todo), mixed=True):
                salt = _salt(image[0])
                for row, one in zip(rows.tolist(), image, strict=True):
                    digest[row] = known[row] or _hash(one, salt)
                if pictures:
                    small[rows] = _small(image)
                if encoder is not None:
                    made.update(zip(rows.tolist(), self._encoded(image, turns), strict=True))
                tracker.advance(len(rows))
        _leave(data, digest)
        readable = sorted(digest)
        self.rows = np.array(readable, dtype=np.int64)
        self.digest = [digest[row] for row in readable]
        self.small = small[self.rows] if pictures and len(readable) < len(data) else small
        views = np.stack([made[row] for row in readable]) if made else np.zeros((len(readable), turns, 1), np.float32)
        self.vectors, self.turned = views[:, 0], views[:, 1:].astype(np.float16)
        if features is not None:
            self.vectors = np.asarray(features, dtype=np.float32)[self.rows]
            self.turned = np.zeros((len(readable), 0, self.vectors.shape[1]), np.float16)

    def changed(
        self, places: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64] | None]:
        """Planted copies of some images (by place in :attr:`rows`), made at their own size.

        Returns:
            Small pictures of the copies, which are mirrored, and the cosine of each one's vector with its original's
            (None without an encoder).
        """
        small = np.zeros((len(places), picture.SIDE, picture.SIDE, 3), dtype=np.uint8)
        mirrored, cosine, done = np.zeros(len(places), dtype=bool), np.zeros(len(places)), 0
        for images in self._alike_in_size(places):
            copies, flipped = picture.changed(images, rng)
            these = slice(done, done := done + len(images))
            small[these] = _small(copies)
            mirrored[these] = flipped
            if self._encoder is not None:
                own, other = self.vectors[places[these]].astype(np.float64), self._encoded(copies, 1)[:, 0]
                length = np.linalg.norm(own, axis=1) * np.linalg.norm(other.astype(np.float64), axis=1)
                cosine[these] = (own * other).sum(axis=1) / np.maximum(length, 1e-12)
        return small, mirrored, None if self._encoder is None else cosine

    def _alike_in_size(self, places: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """These images in their order, as many at a time as are of one size and small."""
        part: list[NDArray[np.uint8]] = []
        for place in places.tolist():
            image = self._data.source.read(int(self._data.rows[self.rows[place]]))
            if part and (image.shape != part[0].shape or len(part) * image.size > CHANGED):
                yield np.stack(part)
                part = []
            part.append(image)
        if part:
            yield np.stack(part)

    def _encoded(self, images: NDArray[np.uint8], turns: int) -> NDArray[np.float32]:
        """Vectors float ``[B, turns, D]``."""
        assert self._encoder is not None
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            views = [self._encoder(torch.rot90(batch, quarter, (2, 3))).float().cpu() for quarter in range(turns)]
        return np.asarray(torch.stack(views, 1).numpy())


def _hashes(data: ImageSet) -> list[bytes | None]:
    """Hashes of pixels that an earlier pass over these images left, by row of ``data``."""
    if not isinstance(data.source, Remembered):
        return [None] * len(data)
    return [data.source.hashes[place] for place in data.rows.tolist()]


def _batches(data: ImageSet, rows: NDArray[np.int64]) -> Iterator[Any]:
    """Rows in parts of up to 64 images that take no more memory than they may."""
    part: list[int] = []
    room = ROOM
    for row in rows.tolist():
        size = _pixels(data, row)
        if part and (len(part) == BATCH or size > room):
            yield part
            part, room = [], ROOM
        part.append(row)
        room -= size
    if part:
        yield part


def _pixels(data: ImageSet, row: int) -> int:
    tell = getattr(data.source, "shape", None)
    if tell is None:
        return ROOM  # only decoding would tell
    try:
        height, width = tell(int(data.rows[row]))
    except BadImage:  # decoding meets it again, and records it
        return 0
    return int(height * width)


def _small(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = (picture.SIDE, picture.SIDE)
    if images.shape[1:3] == side:
        return images
    return np.stack([resized(one, side, "squash") for one in images])


def _hash(image: NDArray[np.uint8], salt: bytes) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, salt=salt).digest()


def _leave(data: ImageSet, digest: dict[int, bytes]) -> None:
    if isinstance(data.source, Remembered):
        for row, found in digest.items():
            data.source.hashes[int(data.rows[row])] = found


def _salt(image: NDArray[np.uint8]) -> bytes:
    """The shape, so that the same bytes in another shape are another image."""
    return image.shape[0].to_bytes(8, "little") + image.shape[1].to_bytes(8, "little")
