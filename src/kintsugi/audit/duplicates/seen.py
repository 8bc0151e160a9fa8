"""One pass over the images: a hash of each one's pixels, and what it is compared by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.audit.duplicates import picture
from kintsugi.core.progress import task
from kintsugi.data.stream import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

BATCH = 64


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
        rows: list[int] = []
        self.digest: list[bytes] = []
        small: list[NDArray[np.uint8]] = []
        made: list[NDArray[np.float32]] = []  # [B, turns, D]
        waiting: list[NDArray[np.uint8]] = []
        with task("look for duplicates", len(data)) as tracker:
            for (row,), (image,) in data.stream(1):
                rows.append(int(row))
                self.digest.append(hashlib.blake2b(image.tobytes(), digest_size=16, salt=_salt(image)).digest())
                if encoder is not None:
                    if waiting and (waiting[0].shape != image.shape or len(waiting) == BATCH):
                        made.append(self._encoded(waiting, turns))
                        waiting = []
                    waiting.append(image)
                if pictures:
                    small.append(resized(image, (picture.SIDE, picture.SIDE), "squash"))
                tracker.advance()
        if waiting:
            made.append(self._encoded(waiting, turns))
        self.rows = np.array(rows, dtype=np.int64)
        self.small = np.stack(small) if small else np.zeros((0, picture.SIDE, picture.SIDE, 3), np.uint8)
        views = np.concatenate(made) if made else np.zeros((len(rows), turns, 1), np.float32)
        self.encodes = encoder is not None or features is not None
        self.vectors, self.turned = views[:, 0], views[:, 1:].astype(np.float16)
        if features is not None:
            self.vectors = np.asarray(features, dtype=np.float32)[self.rows]
            self.turned = np.zeros((len(rows), 0, self.vectors.shape[1]), np.float16)

    def changed(
        self, places: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64] | None]:
        """Planted copies of some images (by place in :attr:`rows`), made at their own size.

        Returns:
            Small pictures of the copies, which are mirrored, and the cosine of each one's vector with its original's
            (None without an encoder).
        """
        small, mirrored, cosine = [], np.zeros(len(places), dtype=bool), np.zeros(len(places))
        for number, place in enumerate(places.tolist()):
            image = self._data.source.read(int(self._data.rows[self.rows[place]]))
            (copy,), (mirrored[number],) = picture.changed(np.array(image[None]), rng)
            small.append(resized(copy, (picture.SIDE, picture.SIDE), "squash"))
            if self._encoder is not None:
                own, other = (v.astype(np.float64) for v in (self.vectors[place], self._encoded([copy], 1)[0, 0]))
                cosine[number] = own @ other / max(float(np.linalg.norm(own) * np.linalg.norm(other)), 1e-12)
        shape = (0, picture.SIDE, picture.SIDE, 3)
        made = np.stack(small) if small else np.zeros(shape, np.uint8)
        return made, mirrored, None if self._encoder is None else cosine

    def _encoded(self, images: list[NDArray[np.uint8]], turns: int) -> NDArray[np.float32]:
        """Vectors float ``[B, turns, D]``."""
        assert self._encoder is not None
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            views = [self._encoder(torch.rot90(batch, quarter, (2, 3))).float().cpu() for quarter in range(turns)]
        return np.asarray(torch.stack(views, 1).numpy())


def _salt(image: NDArray[np.uint8]) -> bytes:
    """The shape, so that the same bytes in another shape are another image."""
    return image.shape[0].to_bytes(8, "little") + image.shape[1].to_bytes(8, "little")
