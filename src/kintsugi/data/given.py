"""Files of the data a person has and we may not ship, in a folder named by the environment variable KINTSUGI_DATA."""

from __future__ import annotations

import os
from pathlib import Path

from kintsugi.core.errors import BadData


def given_file(name: str) -> Path:
    """Path of a file in ``KINTSUGI_DATA``.

    Raises:
        BadData: the variable is not set, or the folder does not hold the file.
    """
    folder = os.environ.get("KINTSUGI_DATA", "")
    path = Path(folder) / name
    if not folder or not path.is_file():
        raise BadData(f"{name} is not in KINTSUGI_DATA={folder!r}.", "Set it to the folder that holds the file.")
    return path
