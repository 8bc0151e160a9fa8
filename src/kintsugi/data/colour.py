"""Embedded colour profiles (ICC) to sRGB, as browsers show them: Display P3 of phones, Adobe RGB, grey and CMYK scans.

The transform of a profile is built once and kept: a camera's images share theirs. Most embedded profiles are sRGB by
another name; one that moves no colour of a grid by more than a step of 255 is left alone, and so costs nothing.
"""

from __future__ import annotations

import hashlib
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT = 64  # transforms; a data set has a handful of cameras and scanners
_KINDS = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # the profile's colour space, Pillow's mode
_lock = threading.Lock()
_transforms: dict[tuple[bytes, str], Any] = {}


class BadProfile(ValueError):
    """A profile that cannot be used; the image's numbers are then taken for sRGB, as they would be without it."""


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB, with its transparency.

    Args:
        image: of any 8-bit mode, loaded.
        profile: the ICC profile embedded in it.

    Returns:
        The very image where nothing is to be done, else one of mode ``RGB`` or ``RGBA``.

    Raises:
        BadProfile: the profile is broken or for another kind of image.
    """
    alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    for mode in ("RGBA" if alpha else "RGB", "L", "CMYK"):
        if _suits(image.mode, mode) and (transform := _transform(profile, mode)) is not _OTHER:
            break
    else:
        raise BadProfile(f"it is not for images of mode {image.mode}")
    if transform is None:
        return image
    made: Image.Image = transform.apply(image if image.mode == mode else image.convert(mode))
    if mode == "L" and alpha:
        made.putalpha(image.convert("LA").getchannel("A"))
    return made


_OTHER = object()  # the profile is for another kind of image


def _suits(mode: str, wanted: str) -> bool:
    """Whether an image can be given as ``wanted``: grey may go in as RGB, never the reverse."""
    if wanted == "L":
        return mode in ("1", "L", "LA")
    return (mode == "CMYK") == (wanted == "CMYK")


def _transform(profile: bytes, mode: str) -> Any:
    """From ``profile`` to sRGB for images of ``mode``: a transform, None where it would do nothing, or `_OTHER`."""
    key = hashlib.blake2b(profile, digest_size=16).digest(), mode
    with _lock:
        if key not in _transforms:
            if len(_transforms) >= _KEPT:
                _transforms.clear()
            _transforms[key] = _built(profile, mode)
        return _transforms[key]


def _built(profile: bytes, mode: str) -> Any:
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if _KINDS.get(source.profile.xcolor_space) != mode.removesuffix("A"):
            return _OTHER
        out = "RGBA" if mode == "RGBA" else "RGB"
        made = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, out)
    except ImportError as error:
        raise BadProfile("this Pillow was built without LittleCMS") from error
    except (OSError, ImageCms.PyCMSError) as error:
        raise BadProfile(f"it is broken ({error})") from error
    if mode == "CMYK":
        return made
    grid = Image.fromarray(_grid(mode.removesuffix("A"))).convert(mode)
    moved = np.asarray(made.apply(grid)).astype(int) - np.asarray(grid.convert(out))
    return made if np.abs(moved).max() > 1 else None


def _grid(mode: str) -> NDArray[np.uint8]:
    """Every grey, or 17 x 17 x 17 colours."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
