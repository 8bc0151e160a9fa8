"""Small pictures for the report: bounded in size and number, and nothing but PNG or JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.errors import BadData, require
from kintsugi.data.source import BadImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.findings import Finding, Findings
    from kintsugi.data.imageset import ImageSet

SIZE = 96  # longest side of a thumbnail in pixels, as large as the page shows it
PER_CHECK = 24  # findings shown a check
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def thumbnail(image: NDArray[Any], size: int = SIZE) -> bytes:
    """An encoded picture, its longest side at most ``size``; smaller images keep their pixels.

    Args:
        image: uint8 ``[H, W, 3]``, or float ``[3, H, W]`` or ``[H, W, 3]`` in 0..1.
        size: in pixels.

    Returns:
        PNG, or JPEG where that is smaller and the picture is no pixel art (over 40 pixels).
    """
    require(size >= 1, "size", size, "a whole number from 1")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise BadData(f"image has shape {pixels.shape}:", "give one RGB image [H, W, 3] or [3, H, W].")
    if pixels.dtype != np.uint8:
        pixels = np.rint(255 * np.clip(np.nan_to_num(pixels.astype(np.float64)), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    exact = _encoded(picture, "PNG", optimize=True)
    if max(picture.size) <= 40:
        return exact
    return min(exact, _encoded(picture, "JPEG", quality=82), key=len)


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def kind_of(picture: bytes, name: str = "picture") -> str:
    """``image/png`` or ``image/jpeg``, told by the first bytes.

    Raises:
        BadData: neither; nothing else is put into a page.
    """
    for start, kind in _KINDS.items():
        if picture.startswith(start):
            return kind
    raise BadData(f"{name!r} is neither PNG nor JPEG.", "Make it with kintsugi.report.pictures.thumbnail.")


def size_of(picture: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.size


def data_uri(picture: bytes, name: str = "picture") -> str:
    """The picture as an address that holds it."""
    return f"data:{kind_of(picture, name)};base64,{base64.b64encode(picture).decode('ascii')}"


def shown(findings: Findings, per_check: int = PER_CHECK) -> tuple[Finding, ...]:
    """The findings the page shows of one check: the flagged ones, or the worst where none is flagged."""
    return (findings.flagged or findings.rows)[:per_check]


def named(findings: Iterable[Findings], per_check: int = PER_CHECK) -> Iterator[str]:
    """Ids of the samples the page shows, at most two a finding."""
    for each in findings:
        for row in shown(each, per_check):
            if row.subject in ("sample", "pair"):
                yield from row.ids[:2]


def gather(
    data: ImageSet, findings: Iterable[Findings], *, per_check: int = PER_CHECK, size: int = SIZE
) -> dict[str, bytes]:
    """Thumbnails of the samples that the page will show; images that cannot be read are left out."""
    place = {name: row for row, name in enumerate(data.ids)}
    made: dict[str, bytes] = {}
    for name in named(findings, per_check):
        if name in place and name not in made:
            try:
                made[name] = thumbnail(data.source.read(int(data.rows[place[name]])), size)
            except BadImage:
                continue
    return made
