"""Where pixels come from. A source only reads; the image set's table says which row is which image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from kintsugi.core.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


class Source(Protocol):
    """Images by number. Safe to call from several threads.

    Two things a source may offer besides, and the stream then uses: ``gather(rows)`` gives many images of one size
    at once (sets in memory), and :class:`Pictures`.
    """

    @property
    def fingerprint(self) -> str:
        """Names the content, so that caches and decisions find their data again."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> NDArray[np.uint8]:
        """The image, upright, uint8 ``[H, W, 3]`` RGB.

        Raises:
            BadImage: it cannot be read; the caller records it and goes on.
        """


@runtime_checkable
class Pictures(Protocol):
    """A source of encoded images, which can be shrunk while they are decoded."""

    def picture(self, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
        """As ``read``, as a Pillow picture of mode RGB.

        It may be smaller than the original when it will be resized to ``enough`` (height, width) anyway, but stays
        well above that size in both directions.
        """


@runtime_checkable
class Contents(Protocol):
    """A source of encoded images that hands out the bytes themselves, so that writers need not encode again, and names
    them, so that caches need not decode.
    """

    def content(self, row: int) -> bytes:
        """The encoded image.

        Raises:
            BadImage: it cannot be read.
        """

    def digest(self, row: int) -> bytes:
        """16 bytes that name the encoded image; empty where it cannot be had."""


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


@dataclass(frozen=True, slots=True)
class Problem:
    """A recorded bad image or row.

    Attributes:
        id: the sample, empty where the problem is not one sample's.
        where: file, folder, shard or table.
        reason: short and stable; reports count by it.
        detail: the rest of the story.
        kept: only a note: nothing was left out.
    """

    id: str
    where: str
    reason: str
    detail: str = ""
    kept: bool = False


class Problems(list[Problem]):
    """A list that ignores repeats, so that several passes over the data record a broken image once."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        super().__init__()
        self._known: set[Problem] = set()
        for problem in problems:
            self.append(problem)

    def append(self, problem: Problem) -> None:
        """Record a problem, once."""
        if problem not in self._known:
            self._known.add(problem)
            super().append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Record several."""
        for problem in problems:
            self.append(problem)

    @property
    def left_out(self) -> list[Problem]:
        """Those that cost an image or a row."""
        return [problem for problem in self if not problem.kept]

    def counted(self, ids: Iterable[str] | None = None) -> str:
        """What was left out (of some samples), by reason, and the first: ``3 empty, 1 bomb; first cat/0.jpg``."""
        wanted = None if ids is None else set(ids)
        out = [problem for problem in self.left_out if wanted is None or problem.id in wanted]
        counts = Counter(problem.reason for problem in out)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        return f"{reasons}; first {out[0].where}" if out else "nothing was left out"


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
        for start in range(0, len(self.image), 4096):  # in parts, so that a view or a file is never copied whole
            digest.update(np.ascontiguousarray(self.image[start : start + 4096]).data)
        return digest.hexdigest()

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image as RGB."""
        image = self.image[row]
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[1], self.image.shape[2]

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

    def find(self, row: int) -> tuple[Source, int]:
        """The part a row lies in, and its row there."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part], row - int(self.starts[part])

    @property
    def notes(self) -> dict[int, Problem]:
        """Harmless oddities that the parts met while decoding, by row."""
        parts = zip(self.parts, self.starts.tolist(), strict=False)
        return {start + row: note for part, start in parts for row, note in getattr(part, "notes", {}).items()}

    def read(self, row: int) -> NDArray[np.uint8]:
        """One image of the part it lies in."""
        part, inner = self.find(row)
        return part.read(inner)

    def picture(self, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
        """One image of the part it lies in, as a picture."""
        part, inner = self.find(row)
        return picture_of(part, inner, enough)

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width) of one image of the part it lies in."""
        part, inner = self.find(row)
        return shape_of(part, inner)

    @property
    def gather(self) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None:
        """The fast path, where every part has it and all images are of one size."""
        parts = [part for part in self.parts if isinstance(part, ArraySource)]
        one_size = len({part.image.shape[1:3] for part in parts}) == 1
        return self._gather if one_size and len(parts) == len(self.parts) else None

    def _gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        which = np.searchsorted(self.starts, rows, side="right") - 1
        first: Any = self.parts[0]
        made = np.empty((len(rows), *first.image.shape[1:3], 3), dtype=np.uint8)
        for number in np.unique(which):
            part: Any = self.parts[number]
            made[which == number] = part.gather(rows[which == number] - self.starts[number])
        return made


def picture_of(source: Source, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
    """One image of any source as a Pillow picture of mode RGB."""
    make: Callable[[int, tuple[int, int] | None], Image.Image] | None = getattr(source, "picture", None)
    if make is not None:  # asking for the protocol takes a tenth of a small image's decoding
        return make(row, enough)
    from PIL import Image

    return Image.fromarray(source.read(row))


def shape_of(source: Source, row: int) -> tuple[int, int]:
    """(height, width) of one image as stored, without decoding it where the source can tell."""
    tell = getattr(source, "shape", None)
    height, width = tell(row) if tell is not None else source.read(row).shape[:2]
    return int(height), int(width)
