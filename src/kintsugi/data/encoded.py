"""Sources of encoded images: files, bytes in a table, members of tar shards."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.progress import task
from kintsugi.core.side_by_side import cores
from kintsugi.data.decode import Content, decode, header, picture
from kintsugi.data.source import BadImage, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_BYTES = 16  # of a digest
_PART = 256  # images hashed by one job


class Encoded(ABC):
    """Encoded images by number; a subclass says where the bytes are.

    Attributes:
        notes: oddities met while decoding that did no harm, by row.
    """

    def __init__(self) -> None:
        self.notes: dict[int, Problem] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encoded(self, row: int) -> Content:
        """The encoded image, or the file that holds it.

        Raises:
            BadImage: it cannot be had.
        """

    @abstractmethod
    def where(self, row: int) -> str:
        """The image's place in words, for messages."""

    def read(self, row: int) -> NDArray[np.uint8]:
        """The image, upright, uint8 ``[H, W, 3]``."""
        return decode(self.encoded(row), self.where(row), note=partial(self._note, row), sized=partial(self._size, row))

    def picture(self, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
        """The image as a Pillow picture, perhaps shrunk on loading; see :class:`kintsugi.data.source.Pictures`."""
        note, sized = partial(self._note, row), partial(self._size, row)
        return picture(self.encoded(row), self.where(row), enough=enough, note=note, sized=sized)

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width) as stored, before orientation: from the header, or remembered from decoding."""
        height, width = self._sizes[row].tolist()
        if height == 0:
            found = header(self.encoded(row), self.where(row))
            self._size(row, height := found.height, width := found.width)
        return height, width

    def content(self, row: int) -> bytes:
        """The encoded image as it is."""
        found = self.encoded(row)
        try:
            return found.read_bytes() if isinstance(found, Path) else bytes(found)
        except OSError as error:
            raise BadImage(self.where(row), "unreadable", error.strerror or str(error)) from error

    def _note(self, row: int, reason: str, detail: str) -> None:
        self.notes[row] = Problem("", self.where(row), reason, detail, kept=True)

    def _size(self, row: int, height: int, width: int) -> None:
        self._sizes[row] = height, width

    @cached_property
    def _sizes(self) -> NDArray[np.int32]:
        """(height, width) of the images whose headers were read, 0 of the others."""
        return np.zeros((len(self), 2), dtype=np.int32)

    def digest(self, row: int) -> bytes:
        """16 bytes that name the encoded image, read once and then remembered; empty where it cannot be had."""
        known = self._digests[row]
        if known is None:
            known = self._digests[row] = self._hash(row)
        return known

    @cached_property
    def _digests(self) -> list[bytes | None]:
        return [None] * len(self)

    def _hash(self, row: int) -> bytes:
        try:
            found = self.encoded(row)
            if not isinstance(found, Path):
                return hashlib.blake2b(found, digest_size=_BYTES).digest()
            with found.open("rb", buffering=0) as stream:
                return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=_BYTES)).digest()
        except (BadImage, OSError):
            return b""  # an image that cannot be had is part of what the data is

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every image's bytes: a decision or a half-done run never meets other data than its own.

        All bytes are read, once and by all cores: that is little beside decoding them, embeddings are kept under the
        same digests, and less would not do. The ends of a file miss a change between them, its time of change differs
        in every copy, and a copy of the data elsewhere is the same data.
        """
        parts = [range(start, min(start + _PART, len(self))) for start in range(0, len(self), _PART)]
        whole = hashlib.blake2b(digest_size=_BYTES)
        with task("read the data", len(self)) as tracker, ThreadPoolExecutor(cores()) as pool:
            for part, digests in zip(parts, pool.map(lambda rows: [*map(self.digest, rows)], parts), strict=True):
                for digest in digests:
                    whole.update(len(digest).to_bytes(1, "little") + digest)
                tracker.advance(len(part))
        return whole.hexdigest()


class Files(Encoded):
    """Images in files.

    Args:
        paths: one file an image.
        names: how messages call them; by default the paths.
    """

    def __init__(self, paths: Iterable[Path | str], names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.paths = [os.fspath(path) for path in paths]
        self.names = names

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, row: int) -> Path:
        """The file."""
        return Path(self.paths[row])

    def where(self, row: int) -> str:
        """The file's name."""
        return self.paths[row] if self.names is None else self.names[row]
