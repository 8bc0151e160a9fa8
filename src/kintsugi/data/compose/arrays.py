"""Originals for composed worlds from an npz file of labelled images that the person has."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.data.given import given_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ALL = slice(None)


def originals_of(file: str, k: int, part: str, size: int, *, valid: int, test: slice = ALL) -> NDArray[np.uint8]:
    """The images of class ``k`` in one part, scaled to ``size``: uint8 ``[N, size, size(, 3)]``.

    Args:
        file: an npz file in ``KINTSUGI_DATA`` with ``x_train y_train x_test y_test``.
        k: the class.
        part: ``test`` for the file's own test images; the first ``valid`` training images are ``valid``, the rest
            ``pool``.
        size: side in pixels.
        valid: training images kept for validation.
        test: which of the class's test images are used.

    Raises:
        BadData: ``KINTSUGI_DATA`` is not set, or does not hold the file.
    """
    found = _read(given_file(file))
    side = "test" if part == "test" else "train"
    mine = found[f"x_{side}"][found[f"y_{side}"] == k]
    mine = {"test": mine[test], "valid": mine[:valid], "pool": mine[valid:]}[part]
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BOX)) for one in mine])


@cache
def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as found:
        return {name: found[name] for name in ("x_train", "y_train", "x_test", "y_test")}
