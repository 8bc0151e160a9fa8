"""Sources of encoded images: files, bytes in a table, members of tar shards."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kintsugi.data.decode import Content, decode, header, picture
from kintsugi.data.source import BadImage, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_END = 4096  # bytes hashed at either end of an encoded image


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
        return decode(self.encoded(row), self.where(row), note=lambda *why: self._note(row, *why))

    def picture(self, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
        """The image as a Pillow picture, perhaps shrunk on loading; see :class:`kintsugi.data.source.Pictures`."""
        return picture(self.encoded(row), self.where(row), enough=enough, note=lambda *why: self._note(row, *why))

    def shape(self, row: int) -> tuple[int, int]:
        """(height, width) as stored, before orientation, from the header alone."""
        found = header(self.encoded(row), self.where(row))
        return found.height, found.width

    def content(self, row: int) -> bytes:
        """The encoded image as it is."""
        found = self.encoded(row)
        try:
            return found.read_bytes() if isinstance(found, Path) else bytes(found)
        except OSError as error:
            raise BadImage(self.where(row), "unreadable", error.strerror or str(error)) from error

    def _note(self, row: int, reason: str, detail: str) -> None:
        self.notes[row] = Problem("", self.where(row), reason, detail, kept=True)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every image's length and of the 4 KiB at either end of it.

        Not the whole content: naming a million photographs must not mean reading them all. Nor names or times: a
        copy of the data elsewhere is the same data.
        """
        digest = hashlib.blake2b(digest_size=16)
        for size, ends in (self._ends(row) for row in range(len(self))):
            digest.update(size.to_bytes(8, "little", signed=True))
            digest.update(ends)
        return digest.hexdigest()

    def _ends(self, row: int) -> tuple[int, bytes]:
        try:
            found = self.encoded(row)
            if not isinstance(found, Path):
                return len(found), bytes(found[:_END]) + bytes(found[max(_END, len(found) - _END) :])
            with found.open("rb", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                head = stream.read(_END)
                stream.seek(max(_END, size - _END))
                return size, head + stream.read(_END)
        except (BadImage, OSError):
            return -1, b""  # an image that cannot be had is part of what the data is


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
