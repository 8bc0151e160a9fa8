"""What all writers share: an image's bytes, the table with class names in it, a target that is never overwritten."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image

from kintsugi.core.errors import BadData
from kintsugi.core.files import disk_errors
from kintsugi.core.progress import track
from kintsugi.data.decode import header
from kintsugi.data.source import BadImage, Contents, Problem, Source

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

_KEY = b"kintsugi"
_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
}


@dataclass(frozen=True, slots=True)
class Written:
    """One image to write: its row, its encoded bytes and the suffix that tells their format."""

    row: int
    content: bytes
    suffix: str


def images(data: ImageSet) -> Iterator[Written]:
    """Every image of the data, encoded: as it is where it was encoded, as PNG where it was an array.

    Images that cannot be had, or are no images, are recorded in ``data.problems`` and left out.
    """
    for row in track(range(len(data)), "write", len(data)):
        try:
            content, suffix = _encoded(data.source, int(data.rows[row]), data.ids[row])
        except BadImage as error:
            data.problems.append(Problem(data.ids[row], error.where, error.reason, error.detail))
            continue
        yield Written(row, content, suffix)


def _encoded(source: Source, row: int, name: str) -> tuple[bytes, str]:
    while hasattr(source, "find"):  # a joined source knows which part holds the image
        source, row = source.find(row)
    if isinstance(source, Contents):
        content = source.content(row)
        return content, _SUFFIXES.get(header(content, name).format, ".img")
    held = BytesIO()
    Image.fromarray(source.read(row)).save(held, "PNG")
    return held.getvalue(), ".png"


def png_mask(data: ImageSet, row: int) -> bytes | None:
    """The mask of one sample as 1-bit PNG, or None."""
    mask = data.mask(row) if "mask" in data.columns else None
    if mask is None:
        return None
    held = BytesIO()
    Image.fromarray(mask).save(held, "PNG")
    return held.getvalue()


def named_table(data: ImageSet) -> pa.Table:
    """The table with class names as labels, without masks, the class list in its metadata: what readers take back."""
    names = np.array([*data.classes, None], dtype=object)
    table = data.table.drop_columns([name for name in ("mask",) if name in data.columns])
    place = table.column_names.index("label")
    table = table.set_column(place, "label", pa.array(names[data.labels].tolist(), pa.string()))
    if "annotators" in data.columns:
        voices = [
            None if row is None else [names[k] for k in row] for row in data.table.column("annotators").to_pylist()
        ]
        place = table.column_names.index("annotators")
        table = table.set_column(place, "annotators", pa.array(voices, pa.list_(pa.string())))
    return table.replace_schema_metadata({_KEY: json.dumps({"classes": data.classes}).encode()})


def recorded_classes(table: pa.Table | pa.Schema) -> tuple[str, ...] | None:
    """The class list that one of our writers put into a table's metadata, or None."""
    schema = table if isinstance(table, pa.Schema) else table.schema
    found = (schema.metadata or {}).get(_KEY)
    return None if found is None else tuple(json.loads(found)["classes"])


def refuse_existing(path: Path) -> None:
    """Refuse to write over anything that is there.

    Raises:
        BadData: there is a file or a folder that is not empty.
    """
    if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise BadData(f"{path} exists and is never overwritten.", "Choose another --out, or remove it.")


@contextlib.contextmanager
def staged(path: Path | str) -> Iterator[Path]:
    """A folder to write in, which appears under its name only when it is whole.

    Raises:
        BadData: the target exists or cannot be written.
        StorageFull: the disk is full; nothing is left behind.
    """
    target = Path(path)
    refuse_existing(target)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part"))
        try:
            yield part
            refuse_existing(target)
            part.chmod(0o755)
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
