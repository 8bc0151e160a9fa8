"""Where pixels come from. A source only reads; the image set's table says which row is which image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kintsugi.core.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Source(Protocol):
    """Images by number. Safe to call from several threads."""

    @property
    def fingerprint(self) -> str:
        """Names the content, so that caches and decisions find their data again."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> NDArray[np.uint8]:
        """The image, upright, uint8 ``[H, W, 3]`` RGB.

        Raises:
            BadImage: it cannot be read; the caller records it and goes on.
        """


class BadImage(BadData):
    """One image cannot be read. Recorded, counted and reported; it never stops a run.

    Args:
        where: file or id.
        reason: short and stable, such as ``truncated`` or ``bomb``; reports count by it.
        detail: the rest of the story.
    """

    def __init__(self, where: str, reason: str, detail: str = "") -> None:
        self.where, self.reason, self.detail = where, reason, detail
        super().__init__(f"{where}: {reason}{f' ({detail})' if detail else ''}.", "It was left out.")


@dataclass(frozen=True)
class Problem:
    """A recorded bad image or row."""

    id: str
    where: str
    reason: str
    detail: str = ""


class ArraySource:
    """Images held in memory, all of one size.

    Args:
        image: uint8 ``[N, H, W]``, ``[N, H, W, 1]`` or ``[N, H, W, 3]``. Floats are refused: say what range they have.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        if image.dtype != np.uint8 or image.ndim not in (3, 4) or (image.ndim == 4 and image.shape[3] not in (1, 3)):
            raise BadData(
                f"image has dtype {image.dtype} and shape {image.shape}:",
                "give uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3].",
            )
        self.image = image[..., None] if image.ndim == 3 else image

    def __len__(self) -> int:
        return len(self.image)

    @property
    def fingerprint(self) -> str:
        """Hash of shape and pixels."""
        digest = hashlib.blake2b(repr(self.image.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.image).data)
        return digest.hexdigest()

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image as RGB."""
        image = self.image[row]
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Many images at once, uint8 ``[n, H, W, 3]``: the fast path for sets in memory."""
        image = self.image[rows]
        return np.repeat(image, 3, axis=3) if image.shape[3] == 1 else image


class Joined:
    """Several sources one after the other."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def fingerprint(self) -> str:
        """Hash of the parts' fingerprints."""
        text = "+".join(part.fingerprint for part in self.parts)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image of the part it lies in."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        image: Any = self.parts[part].read(row - int(self.starts[part]))
        return np.asarray(image, dtype=np.uint8)
