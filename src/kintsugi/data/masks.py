"""Masks of samples: where in the image the thing is. They stay encoded or on disk until asked for.

The column ``mask`` holds a path, an encoded image (bytes, or Hugging Face's ``{bytes, path}``), or null.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from kintsugi.core.errors import BadArgument
from kintsugi.data.decode import decode_with
from kintsugi.data.stream import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet


def pack_masks(masks: Iterable[NDArray[Any] | None]) -> pa.Array:
    """A ``mask`` column from bool ``[H, W]`` arrays (or None), as 1-bit PNG: small, and lossless."""
    return pa.array([None if mask is None else _png(np.asarray(mask, dtype=bool)) for mask in masks], pa.binary())


def read_mask(
    data: ImageSet, i: int, *, size: tuple[int, int] | None = None, fit: str = "crop"
) -> NDArray[np.bool_] | None:
    """The mask of sample ``i``, bool ``[H, W]``; None where it has none.

    In a mask of indices or of small values every non-zero pixel belongs to it; in a grey mask that reaches 128, the
    values from 128 on (so that the soft edges and noise of JPEG masks fall away).

    Args:
        data: the image set.
        i: which sample.
        size: (height, width) to bring it to, with the same geometry as the images of a stream; a pixel
            belongs to the mask where at least half of it does.
        fit: ``crop``, ``squash`` or ``pad``.

    Raises:
        BadImage: it cannot be read.
        BadArgument: the data has no column ``mask``.
    """
    if "mask" not in data.columns:
        raise BadArgument("The data has no column 'mask'.", "Name the column of masks with --mask when reading.")
    value = data.table.column("mask")[i].as_py()
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None or value == "":
        return None
    content = Path(value) if isinstance(value, str) else value
    where = value if isinstance(value, str) else f"the mask of {data.ids[i]}"
    mask = decode_with(_foreground, content, where)
    if size is None:
        return mask
    return resized(mask * np.uint8(255), size, fit) >= 128


def _foreground(opened: Image.Image) -> NDArray[np.bool_]:
    opened.load()
    if opened.mode in ("1", "P"):
        return np.asarray(opened) > 0
    if opened.mode in ("LA", "RGBA", "PA"):  # cut-outs carry their mask as transparency
        alpha = np.asarray(opened.getchannel("A"))
        if alpha.min() < 255:
            return alpha >= 128
    value = np.asarray(opened if opened.mode.startswith(("I", "F", "L")) else opened.convert("L"))
    value = value[..., 0] if value.ndim == 3 else value
    return value >= 128 if value.max() >= 128 else value > 0


def _png(mask: NDArray[np.bool_]) -> bytes:
    held = BytesIO()
    Image.fromarray(mask).save(held, "PNG")
    return held.getvalue()
