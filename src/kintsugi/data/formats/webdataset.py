"""WebDataset tar shards: ``KEY.jpg``, ``KEY.cls``, ``KEY.json``, ``KEY.txt``, ``KEY.mask.png``. Images are read where
they lie in the tar, by offset; nothing is extracted. Members whose names lead out (``..``, absolute) and links are
refused and recorded.
"""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image

from kintsugi.core.errors import BadData, require
from kintsugi.core.files import write_json
from kintsugi.data import export
from kintsugi.data.columns import SPLITS, Columns, assemble
from kintsugi.data.confine import printable
from kintsugi.data.encoded import Encoded
from kintsugi.data.source import BadImage, Problem

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

_LARGEST_TEXT = 1 << 24  # bytes of a .json, .cls or .txt member that are believed


def recognises(path: Path) -> bool:
    """Whether ``path`` is a tar shard or a folder of them."""
    return bool(_shards(path))


def _shards(path: Path) -> list[Path]:
    if path.is_dir():
        parts = sorted(part for part in path.iterdir() if part.name.lower() in SPLITS)
        return sorted(path.glob("*.tar")) or [shard for part in parts for shard in sorted(part.glob("*.tar"))]
    return [path] if path.name.lower().endswith((".tar", ".tar.gz", ".tgz")) else []


@dataclass
class _Sample:
    """What the members of one key say."""

    row: int = -1
    mask: tuple[int, int, int] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Members(Encoded):
    """Images inside uncompressed tar files.

    Args:
        shards: the files.
        spans: shard number, offset and length of each image.
        names: its name in messages.
    """

    def __init__(self, shards: list[Path], spans: list[tuple[int, int, int]], names: list[str]) -> None:
        super().__init__()
        self.shards, self.spans, self.names = shards, spans, names

    def __len__(self) -> int:
        return len(self.spans)

    def encoded(self, row: int) -> bytes:
        """The bytes of one image.

        Raises:
            BadImage: the shard cannot be read or is cut off.
        """
        shard, offset, size = self.spans[row]
        return _read_at(self.shards[shard], offset, size, self.where(row))

    def where(self, row: int) -> str:
        """Shard and member."""
        return f"{self.shards[self.spans[row][0]]}:{self.names[row]}"


def _read_at(path: Path, offset: int, size: int, where: str) -> bytes:
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            content = stream.read(size)
    except OSError as error:
        raise BadImage(where, "unreadable", error.strerror or str(error)) from error
    if len(content) < size:
        raise BadImage(where, "truncated", "the shard ends inside it")
    return content


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Read tar shards: one file, or a folder of them. Shards named or placed by split (``train-0000.tar``) tell it.

    Raises:
        BadData: a shard is compressed or no tar, or there are no images.
        BadArgument: a named column is not there.
    """
    columns, shards = columns or Columns(), _shards(Path(path))
    if not shards:
        raise BadData(f"{path} holds no tar shards.", "Name a .tar file or a folder of them.")
    problems: list[Problem] = []
    spans: list[tuple[int, int, int]] = []
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    masks: list[bytes | None] = []
    for number, shard in enumerate(shards):
        split = SPLITS.get(shard.stem.split("-")[0].lower()) or SPLITS.get(shard.parent.name.lower())
        for key, sample in _samples(shard, number, spans, names, problems).items():
            if sample.row < 0:
                problems.append(Problem(key, f"{shard}:{key}", "no image", "the sample has no image member"))
                continue
            mask = sample.mask
            masks.append(None if mask is None else _read_at(shards[mask[0]], mask[1], mask[2], f"{shard}:{key}"))
            facts = {"split": split} if split is not None and len(shards) > 1 else {}
            rows.append({"_row": sample.row, "_id": key, **facts, **sample.facts})
    table = _table(rows)
    if any(mask is not None for mask in masks):
        table = table.append_column("mask", pa.array(masks, pa.binary()))
    keys = [f"{shards[spans[row['_row']][0]].stem}/{row['_id']}" if len(shards) > 1 else row["_id"] for row in rows]
    return assemble(
        Members(shards, spans, names),
        table,
        columns,
        ids=keys,
        where=str(path),
        rows=None if not rows else table.column("_row").to_numpy(),
        problems=problems,
        used=("_row", "_id"),
        classes=_classes(Path(path)),
    )


def _samples(
    shard: Path, number: int, spans: list[tuple[int, int, int]], names: list[str], problems: list[Problem]
) -> dict[str, _Sample]:
    """The samples of one shard, by key."""
    found: dict[str, _Sample] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                name = printable(member.name)
                if member.isdir():
                    continue
                if (refused := _refused(member)) is not None:
                    problems.append(Problem(name, f"{shard}:{name}", *refused))
                    continue
                pure = PurePosixPath(name)
                base, _, ending = pure.name.partition(".")  # WebDataset's rule: the key ends at the first dot
                sample = found.setdefault(str(pure.parent / base), _Sample())
                span = (number, member.offset_data, member.size)
                if (broken := _take(sample, shard, span, name, ending.lower(), spans, names)) is not None:
                    problems.append(Problem("", f"{shard}:{name}", "corrupt", broken, kept=True))
    except tarfile.ReadError as error:
        if _head(shard) == b"\x1f\x8b":
            raise BadData(
                f"{shard} is compressed, so that its images have no place to be read from.",
                f"Unpack it: gunzip {shard}",
            ) from error
        if not found:
            raise BadData(f"{shard} is not a tar file ({error}).", "Restore or remove it.") from error
        problems.append(Problem("", str(shard), "truncated", f"the shard ends early ({error})"))
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(2)


def _refused(member: tarfile.TarInfo) -> tuple[str, str] | None:
    pure = PurePosixPath(member.name)
    if pure.is_absolute() or ".." in pure.parts:
        return "outside", "a member whose name leads out of the archive"
    if not member.isreg() or member.issparse():
        return "unreadable", "a link or special member"
    return None


def _take(
    sample: _Sample,
    shard: Path,
    span: tuple[int, int, int],
    name: str,
    ending: str,
    spans: list[tuple[int, int, int]],
    names: list[str],
) -> str | None:
    """Add one member to its sample; what is wrong with it, if anything: its sample then lacks these facts."""
    if ending in ("mask.png", "seg.png"):
        sample.mask = span
    elif f".{ending}" in Image.registered_extensions() or ending == "img":
        if sample.row < 0:  # of several images under one key the first is the image
            sample.row = len(spans)
            spans.append(span)
            names.append(name)
    elif ending in ("json", "cls", "cls.txt", "txt") and span[2] <= _LARGEST_TEXT:
        text = _read_at(shard, span[1], span[2], f"{shard}:{name}").decode("utf-8", errors="replace").strip()
        if ending == "json":
            try:
                facts = json.loads(text)
            except json.JSONDecodeError as error:
                return f"it is not JSON ({error}); what it says of its image is lost"
            sample.facts.update(facts if isinstance(facts, dict) else {"json": text})
        elif ending == "txt":
            sample.facts["caption"] = text
        else:
            sample.facts["label"] = int(text) if text.lstrip("-").isdigit() else text
    return None


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Facts as a table; a key that not every sample has is null there, mixed or nested values become JSON text."""
    made = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            made[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            made[name] = pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values])
    return pa.table(made)


def _classes(path: Path) -> tuple[str, ...] | None:
    """The class list our writer leaves beside the shards."""
    beside = (path if path.is_dir() else path.parent) / "classes.json"
    if not beside.exists():
        return None
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadData(f"{beside} is not JSON ({error}).", "Restore or remove it.") from error
    return tuple(map(str, found)) if isinstance(found, list) else None


def write(data: ImageSet, path: Path | str, *, per_shard: int = 1000) -> ImageSet:
    """Write a folder of shards ``shard-000000.tar`` with image, JSON and mask a sample, and ``classes.json``.

    Values JSON does not know, such as dates, become text.

    Raises:
        BadData: the folder exists and is not empty, or cannot be written.
        StorageFull: the disk is full; nothing is left behind.
    """
    require(per_shard >= 1, "per_shard", per_shard, "a whole number from 1")
    facts = export.named_table(data).to_pylist()
    with export.staged(path) as folder, ExitStack() as held:
        write_json(folder / "classes.json", list(data.classes))
        for count, image in enumerate(export.images(data)):
            if count % per_shard == 0:
                held.close()
                name = folder / f"shard-{count // per_shard:06d}.tar"
                shard = held.enter_context(tarfile.open(name, "w", format=tarfile.PAX_FORMAT))
            _add(shard, f"{image.row:08d}{image.suffix}", image.content)
            if (mask := export.png_mask(data, image.row)) is not None:
                _add(shard, f"{image.row:08d}.mask.png", mask)
            _add(shard, f"{image.row:08d}.json", json.dumps(facts[image.row], default=str).encode())
        held.close()
    return read(path)


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    shard.addfile(member, io.BytesIO(content))
