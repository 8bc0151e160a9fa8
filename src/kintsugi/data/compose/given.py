"""Images that the person has and that do not ship: arrays of files in the folder that ``KINTSUGI_DATA`` names."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def given(file: str, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The named arrays of an npz file.

    Raises:
        BadData: ``KINTSUGI_DATA`` is not set, or its folder does not hold the file.
    """
    folder = os.environ.get("KINTSUGI_DATA", "")
    path = Path(folder) / file
    if not folder or not path.is_file():
        raise BadData(f"{file} is not in KINTSUGI_DATA={folder!r}.", "Set it to the folder that holds the file.")
    found = _read(path)
    return {name: found[name] for name in names}


@cache
def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as found:
        return dict(found)


def originals_of(file: str, k: int, part: str, size: int, *, valid: int, test: int | None = None) -> NDArray[np.uint8]:
    """The images of class ``k`` in one part, scaled to ``size``: uint8 ``[N, size, size(, 3)]``.

    Args:
        file: an npz file with ``x_train y_train x_test y_test``.
        k: the class.
        part: ``test`` for the file's own test images; the first ``valid`` training images are ``valid``, the rest
            ``pool``.
        size: side in pixels.
        valid: training images kept for validation.
        test: test images used at most; None for all.
    """
    found = given(file, ("x_train", "y_train", "x_test", "y_test"))
    side = "test" if part == "test" else "train"
    mine = found[f"x_{side}"][found[f"y_{side}"] == k]
    mine = {"test": mine[:test], "valid": mine[:valid], "pool": mine[valid:]}[part]
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BOX)) for one in mine])
