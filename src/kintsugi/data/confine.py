"""File names from tables and folders, kept inside their folder: no ``..``, no absolute path, no link that leads out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kintsugi.core.errors import BadData
from kintsugi.data.source import BadImage


class Folder:
    """A data folder out of which no name may lead.

    Args:
        root: the folder.

    Raises:
        BadData: it is no folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise BadData(f"{root} is not a folder.", "Name the folder that holds the images (--root).")
        self._parents: dict[str, str] = {}  # a folder is resolved once, however many files lie in it

    def file(self, name: str) -> Path:
        """The regular file called ``name`` below the root.

        Raises:
            BadImage: with reason ``outside``, ``missing`` or ``unreadable``.
        """
        parent, last = os.path.split(self.root / name)
        try:
            if parent not in self._parents:
                self._parents[parent] = os.path.realpath(parent)
            path = Path(self._parents[parent], last)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                path = path.resolve()
                mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BadImage(name, "missing", f"no such file in {self.root}") from error
        except (OSError, ValueError, RuntimeError) as error:  # too long a name, a NUL in it, links in a circle
            raise BadImage(name, "unreadable", str(error)) from error
        if last in ("", ".", "..") or not path.is_relative_to(self.root):
            raise BadImage(name, "outside", f"it leads out of the folder {self.root}")
        if not stat.S_ISREG(mode):
            raise BadImage(name, "unreadable", "it is not a regular file")
        return path


def printable(name: str) -> str:
    """A file name as text that Arrow and JSON can hold; bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
