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
        encoder: None keeps small pictures, else its vectors are kept.
        features: vectors that are known already, float ``[N, D]``; then only hashes are taken.

    Attributes:
        rows: int64 ``[R]``, rows of the readable images; the other attributes follow this order.
        digest: hash of size and pixels of each.
        small: uint8 ``[R, 32, 32, 3]``, empty when vectors are compared.
        vectors: float ``[R, D]``, empty when pixels are compared.
    """

    def __init__(self, data: ImageSet, encoder: Encoder | None = None, features: NDArray[Any] | None = None) -> None:
        self._data, self._encoder = data, encoder
        rows: list[int] = []
        self.digest: list[bytes] = []
        small: list[NDArray[np.uint8]] = []
        made: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        with task("look for duplicates", len(data)) as tracker:
            for (row,), (image,) in data.stream(1):
                rows.append(int(row))
                self.digest.append(hashlib.blake2b(image.tobytes(), digest_size=16, salt=_salt(image)).digest())
                if encoder is not None:
                    if waiting and (waiting[0].shape != image.shape or len(waiting) == BATCH):
                        made.append(self._encoded(waiting))
                        waiting = []
                    waiting.append(image)
                elif features is None:
                    small.append(resized(image, (picture.SIDE, picture.SIDE), "squash"))
                tracker.advance()
        if waiting:
            made.append(self._encoded(waiting))
        self.rows = np.array(rows, dtype=np.int64)
        self.small = np.stack(small) if small else np.zeros((0, picture.SIDE, picture.SIDE, 3), np.uint8)
        if features is not None:
            made = [np.asarray(features, dtype=np.float32)[self.rows]]
        self.vectors = np.concatenate(made) if made else np.zeros((0, 1), np.float32)

    def planted(self, places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Cosine of changed copies of some images (by place in :attr:`rows`) with their originals."""
        found = []
        for place in places:
            image = self._data.source.read(int(self._data.rows[self.rows[place]]))
            copy = picture.changed(image[None], rng)[0][0]
            own, other = (vector.astype(np.float64) for vector in (self.vectors[place], self._encoded([copy])[0]))
            found.append(own @ other / max(float(np.linalg.norm(own) * np.linalg.norm(other)), 1e-12))
        return np.array(found)

    def _encoded(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        assert self._encoder is not None
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            return np.asarray(self._encoder(batch).float().cpu().numpy())


def _salt(image: NDArray[np.uint8]) -> bytes:
    """The shape, so that the same bytes in another shape are another image."""
    return image.shape[0].to_bytes(8, "little") + image.shape[1].to_bytes(8, "little")
