"""Encoded images to upright 8-bit RGB, in one place, so that every reader treats odd files alike.

The usual ways, stated: EXIF orientation is applied; grey and palette images become RGB; transparency is composited
over white, as a browser shows it (torchvision's ``ImageFolder`` drops the alpha channel instead, which uncovers
whatever colour lies hidden under it); an embedded colour profile is applied, so that all pixels are sRGB (of 16-bit
images and floats it is ignored); CMYK without a profile is converted by its complement; 16-bit values are scaled by
1/257; floats are read as 0..1; of several frames the first is taken. The content decides what a file is, never its
extension.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from kintsugi.data.colour import BadProfile, to_srgb
from kintsugi.data.source import BadImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Twice Pillow's own warning level: from here on an image is taken for a decompression bomb and never decoded.
BOMB_PIXELS = 2 * 89_478_485
# Larger images are decoded one at a time, so that memory stays bounded however many threads decode.
_LARGE_PIXELS = 32_000_000
_one_large = threading.Lock()
# Shrinking on loading stops at this many times the wanted size: what is left to antialiased resizing (Pillow's
# thumbnails use 2; at 3 its documentation calls the difference invisible).
_SLACK = 3.0

# How files of the usual codecs start.
_STARTS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
# Files up to this size are read in one go before they are decoded: many small reads cost more than a small file does.
_AT_ONCE = 2**20
_PART = 2**16  # bytes that are asked for first: room for many is slow to make beside a small file

# Image files that not every Pillow decodes: never taken for "other files" by their names.
FOREIGN = frozenset((".avif", ".heic", ".heif", ".jxl"))

# Between Pillow's warning level and BOMB_PIXELS we decode on purpose.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

T = TypeVar("T")
Note = Callable[[str, str], None]
Sized = Callable[[int, int], None]
Content = bytes | memoryview | Path


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an image says, read without decoding.

    Attributes:
        format: Pillow's name of the codec, such as ``JPEG``.
        height: rows, before orientation.
        width: columns, before orientation.
        mode: Pillow's mode, such as ``RGB`` or ``I;16``.
        frames: images in the file.
    """

    format: str
    height: int
    width: int
    mode: str
    frames: int


def header(content: Content, where: str) -> Header:
    """The header of a file or of bytes.

    Raises:
        BadImage: it is not an image.
    """
    with _opened(content, where) as picture:
        frames = int(getattr(picture, "n_frames", 1))
        return Header(str(picture.format), picture.height, picture.width, picture.mode, frames)


def decode(
    content: Content,
    where: str,
    *,
    enough: tuple[int, int] | None = None,
    note: Note | None = None,
    sized: Sized | None = None,
) -> NDArray[np.uint8]:
    """One image as uint8 ``[H, W, 3]``; see :func:`picture`."""
    return np.asarray(picture(content, where, enough=enough, note=note, sized=sized))


def picture(
    content: Content,
    where: str,
    *,
    enough: tuple[int, int] | None = None,
    note: Note | None = None,
    sized: Sized | None = None,
) -> Image.Image:
    """One image, upright, as a Pillow picture of mode RGB.

    Args:
        content: the encoded bytes or the file.
        where: its name in messages.
        enough: (height, width) it will be resized to: larger images may be shrunk while loading, never below
            three times this size.
        note: called with (reason, detail) about oddities that do no harm, such as a mislabelled extension.
        sized: called with the height and width that the header states, before orientation.

    Raises:
        BadImage: with reason ``empty``, ``missing``, ``unreadable``, ``not an image``, ``bomb``, ``truncated``,
            ``corrupt`` or ``value range``.
    """

    def work(opened: Image.Image) -> Image.Image:
        if sized is not None:
            sized(opened.height, opened.width)
        if note is not None and isinstance(content, Path):
            _check_extension(content, str(opened.format), note)
        return upright_rgb(opened, enough, note)

    return decode_with(work, content, where)


def decode_with(work: Callable[[Image.Image], T], content: Content, where: str) -> T:
    """Open an image and do ``work`` on it, with everything a codec may raise turned into one :class:`BadImage`."""
    opened = _opened(content, where, _AT_ONCE)
    turn = _one_large if opened.width * opened.height > _LARGE_PIXELS else nullcontext()
    with opened, turn:
        try:
            return work(opened)
        except BadImage as error:
            raise BadImage(where, error.reason, error.detail) from None
        except MemoryError as error:
            raise BadImage(where, "unreadable", f"{opened.width} x {opened.height} does not fit memory") from error
        except Exception as error:  # codecs raise whatever they like on broken bytes (struct.error, IndexError...)
            raise BadImage(where, _reason(error), str(error) or type(error).__name__) from error


def _opened(content: Content, where: str, at_once: int = 0) -> Image.Image:
    """Identify an image without decoding it; files of up to ``at_once`` bytes are read whole."""
    try:
        held = _start(content, max(at_once + 1, 8)) if isinstance(content, Path) else content
        if not len(held):
            raise BadImage(where, "empty", "it has no bytes")
        named = next((codec for start, codec in _STARTS.items() if held[: len(start)] == start), None)
        stream = content if isinstance(content, Path) and len(held) > at_once else BytesIO(held)
        opened = Image.open(stream, formats=None if named is None else (named,))  # else dozens of codecs are asked
    except BadImage:
        raise
    except FileNotFoundError as error:
        raise BadImage(where, "missing", "there is no such file") from error
    except UnidentifiedImageError as error:
        if isinstance(content, Path) and content.suffix.lower() in FOREIGN - Image.registered_extensions().keys():
            raise BadImage(
                where, "unreadable", f"this Pillow has no decoder for {content.suffix}; convert it to PNG or JPEG"
            ) from error
        raise BadImage(where, "not an image", "its content is of no known format, or its header is cut off") from error
    except Image.DecompressionBombError as error:
        raise BadImage(where, "bomb", f"over {BOMB_PIXELS // 10**6} megapixels; not decoded") from error
    except OSError as error:  # the system's errors have a number, the codecs' have none
        reason = _reason(error) if error.errno is None else "unreadable"
        raise BadImage(where, reason, error.strerror or str(error)) from error
    except Exception as error:  # as above: a codec may raise anything
        raise BadImage(where, _reason(error), str(error) or type(error).__name__) from error
    if opened.width * opened.height > BOMB_PIXELS:
        opened.close()
        raise BadImage(where, "bomb", f"{opened.width} x {opened.height} pixels; not decoded")
    return opened


def _start(path: Path, count: int) -> bytes:
    """The first bytes of a file, with few calls of the system: each lets other threads take the interpreter away."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        held = part = os.read(file, min(count, _PART))
        while part and len(held) < count:  # until nothing comes: a read may give less than there is
            part = os.read(file, min(count - len(held), 16 * len(part)))
            held += part
        return held
    finally:
        os.close(file)


def _reason(error: Exception) -> str:
    cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
    return "truncated" if cut else "corrupt"


def _check_extension(path: PurePath, found: str, note: Note) -> None:
    claimed = Image.registered_extensions().get(path.suffix.lower())
    alike = {"MPO": "JPEG", "JPEG2000": "JPEG2000", "DIB": "BMP"}  # a phone's .jpg is often MPO, which begins as a JPEG
    if claimed is not None and alike.get(claimed, claimed) != alike.get(found, found):
        note("mislabelled extension", f"named {path.suffix} but holds {found}; read as {found}")


def upright_rgb(opened: Image.Image, enough: tuple[int, int] | None = None, note: Note | None = None) -> Image.Image:
    """An opened picture as upright RGB; see :func:`picture`."""
    if enough is not None:
        _draft(opened, enough)
    opened.load()
    turn = _TURNS.get(_orientation(opened))
    image = _reduced(opened, enough)
    if (profile := opened.info.get("icc_profile")) and not image.mode.startswith(("I", "F")):
        image = _in_srgb(image, profile, note)
    image = _rgb(image)
    return image if turn is None else image.transpose(turn)


def shrinkage(height: int, width: int, enough: tuple[int, int]) -> int:
    """Whole factor by which a picture can be shrunk and still be ample in either orientation: 2 or more, or it stays
    as it is.
    """
    side = _SLACK * max(enough)
    return int(min(width, height) // side)


def _draft(opened: Image.Image, enough: tuple[int, int]) -> None:
    """Let the JPEG decoder skip detail; other decoders ignore it."""
    if (factor := shrinkage(opened.height, opened.width, enough)) >= 2:
        opened.draft(None, (opened.width // factor, opened.height // factor))


def _reduced(opened: Image.Image, enough: tuple[int, int] | None) -> Image.Image:
    plain = opened.mode in ("L", "RGB", "RGBA", "CMYK")  # palettes and 16 bit cannot be averaged as they are
    if enough is None or not plain or "transparency" in opened.info:
        return opened
    factor = shrinkage(opened.height, opened.width, enough)
    return opened if factor < 2 else opened.reduce(factor)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(opened: Image.Image) -> int:
    """EXIF orientation; broken EXIF is no reason to lose the image."""
    try:
        return int(opened.getexif().get(0x0112, 1))
    except Exception:  # EXIF is parsed from untrusted bytes and may fail in any way
        return 1


def _in_srgb(image: Image.Image, profile: bytes, note: Note | None) -> Image.Image:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    try:
        return to_srgb(image.convert(straight) if straight else image, profile)
    except BadProfile as error:
        if note is not None:
            note("colour profile", f"not applied: {error}")
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_values(image, 65535.0)
    if image.mode == "F":
        return _from_values(image, 1.0)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        layer = (image if straight == image.mode else image.convert(straight)).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_values(image: Image.Image, top: float) -> Image.Image:
    """Grey values 0..``top`` to 8 bit. Other ranges are refused: guessing one by the image's extremes would make dark
    images bright.
    """
    value: NDArray[Any] = np.asarray(image).astype(np.float32)
    low, high = float(value.min()), float(value.max())
    if not (low >= 0.0 and high <= top):  # also catches NaN
        raise BadImage("", "value range", f"values from {low:g} to {high:g} where 0 to {top:g} is expected")
    return Image.fromarray(np.rint(value * (255.0 / top)).astype(np.uint8)).convert("RGB")
