"""Folders of images: one folder a class (``cat/1.jpg``), perhaps below one folder a split (``train/cat/1.jpg``); or
flat with a table beside the images; or flat and without labels.

The class is the first folder below the root (or the split). An empty class folder stays a class. Links that lead out
of the folder are refused and recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kintsugi.core.errors import BadData
from kintsugi.core.files import atomic, write_with
from kintsugi.data import export
from kintsugi.data.columns import SPLITS, USUAL, Columns, assemble
from kintsugi.data.confine import printable
from kintsugi.data.decode import FOREIGN
from kintsugi.data.encoded import Files
from kintsugi.data.formats import table as tables
from kintsugi.data.source import Problem

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

# Tables looked for beside the images, in this order; else the only table in the folder is taken.
_TABLES = ("metadata.parquet", "metadata.csv", "metadata.jsonl", "labels.csv", "list_attr_celeba.txt",
           "list_attr_celeba.csv")  # fmt: skip


def recognises(path: Path) -> bool:
    """Any folder may hold images."""
    return path.is_dir()


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Read a folder.

    Raises:
        BadData: it is no folder or holds no images.
        BadArgument: a named column is not there.
    """
    root, columns = Path(path).resolve(), columns or Columns()
    if not root.is_dir():
        raise BadData(f"{path} is not a folder.", "Name a folder of images.")
    if (beside := _table(root, columns)) is not None:
        return tables.read(beside, columns)
    columns.refuse(f"the folder {path}", "label", "attributes", "id", "path", "mask", "caption", "annotators", "split")
    scan = _Scan(str(root))
    top = scan.folders("")
    split_folders = {name: SPLITS[name.lower()] for name in top if name.lower() in SPLITS}
    by_split = bool(split_folders) and len(split_folders) == len(top)
    found: list[tuple[str, str | None, str | None]] = []  # file, class, split
    listed: set[str] = set()  # every class folder is a class, with or without images in it
    for part in top if by_split else [""]:
        split, classes = split_folders.get(part), scan.folders(part)
        loose = scan.pictures(scan.files(part))
        if classes:
            for file in loose:
                scan.leave_out(file, "no class", "it lies beside the class folders")
        else:  # images without labels
            found.extend((file, None, split) for file in loose)
        for folder in classes:
            name = printable(folder.rpartition("/")[2])
            listed.add(name)
            found.extend((file, name, split) for file in scan.pictures(scan.below(folder)))
    if scan.others:
        detail = f"{len(scan.others)} files are no images by their names, first {printable(scan.others[0])}"
        scan.problems.append(Problem("", str(path), "other files", detail, kept=True))
    found.sort(key=lambda item: item[0])
    names = [printable(file) for file, _, _ in found]
    table = {"label": pa.array([label for _, label, _ in found], pa.string())}
    if by_split:
        table["split"] = pa.array([split for _, _, split in found], pa.string())
    return assemble(
        Files((scan.real.get(file) or f"{root}/{file}" for file, _, _ in found), names),
        pa.table(table),
        columns,
        ids=names,
        where=str(path),
        problems=scan.problems,
        classes=sorted(listed) or None,
    )


class _Scan:
    """Walks a folder, following links only inside it. Names are relative to it, as text: a million paths are many."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.others: list[str] = []  # files that are no images by their names
        self.real: dict[str, str] = {}  # where links inside the folder lead
        self._listed: dict[str, tuple[list[str], list[str]]] = {}

    def folders(self, folder: str) -> list[str]:
        return self._list(folder)[0]

    def files(self, folder: str) -> list[str]:
        return self._list(folder)[1]

    def pictures(self, files: Iterable[str]) -> list[str]:
        """The images among some files; the others are remembered."""
        found: list[str] = []
        for file in files:
            (found if _is_image(file) else self.others).append(file)
        return found

    def below(self, folder: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
        """All files in a folder and the folders in it; a link back to a folder above is not followed."""
        real = os.path.realpath(f"{self.root}/{folder}")
        if real in above:
            return
        yield from self.files(folder)
        for inner in self.folders(folder):
            yield from self.below(inner, above | {real})

    def leave_out(self, name: str, reason: str, detail: str) -> None:
        self.problems.append(Problem(printable(name), printable(name), reason, detail))

    def _list(self, folder: str) -> tuple[list[str], list[str]]:
        if folder not in self._listed:
            folders, files = [], []
            try:
                entries = sorted(os.scandir(f"{self.root}/{folder}"), key=lambda entry: entry.name)
            except OSError as error:
                self.leave_out(folder, "unreadable", error.strerror or str(error))
                entries = []
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith(".") or (entry.is_symlink() and not self._inside(name)):
                    continue
                if entry.is_dir():
                    folders.append(name)
                elif entry.is_file():
                    files.append(name)
            self._listed[folder] = folders, files
        return self._listed[folder]

    def _inside(self, link: str) -> bool:
        try:
            target = Path(self.root, link).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            self.leave_out(link, "missing", f"a link that leads nowhere ({error})")
            return False
        if not target.is_relative_to(self.root):
            self.leave_out(link, "outside", "a link that leads out of the folder")
            return False
        self.real[link] = str(target)
        return True


def _is_image(name: str) -> bool:
    """By extension; files without one are tried, and the content decides when they are decoded."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for every file of a million costs seconds
    return not suffix or suffix in Image.registered_extensions() or suffix in FOREIGN


def _table(root: Path, columns: Columns) -> Path | None:
    """The table beside the images, if there is one that names files."""
    present = sorted(path for path in root.iterdir() if tables.recognises(path) and not path.name.startswith("."))
    named = [root / name for name in _TABLES if root / name in present]
    for candidate in named or (present if len(present) == 1 and not _class_folders(root) else []):
        known = tables.read_table(candidate, Columns()).column_names
        if columns.path in known or any(name in known for name in USUAL["path"]):
            return candidate
    return None


def _class_folders(root: Path) -> bool:
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in os.scandir(root))


def write(data: ImageSet, path: Path | str) -> ImageSet:
    """Write ``images/00000000.jpg`` and ``metadata.parquet``, which also ``datasets`` reads as an image folder.

    Encoded images are copied as they are; arrays become PNG. The folder appears when it is whole.

    Raises:
        BadData: the folder exists and is not empty, or cannot be written.
        StorageFull: the disk is full; nothing is left behind.
    """
    with export.staged(path) as folder:
        rows, files, masks = [], [], []
        for image in export.images(data):
            name = f"images/{image.row:08d}{image.suffix}"
            with atomic(folder / name) as stream:
                stream.write(image.content)
            mask = export.png_mask(data, image.row)
            if mask is not None:
                with atomic(folder / f"masks/{image.row:08d}.png") as stream:
                    stream.write(mask)
            rows.append(image.row)
            files.append(name)
            masks.append(None if mask is None else f"masks/{image.row:08d}.png")
        made = export.named_table(data).take(pa.array(rows, pa.int64()))
        made = made.append_column("file_name", pa.array(files, pa.string()))
        if "mask" in data.columns:
            made = made.append_column("mask", pa.array(masks, pa.string()))
        write_with(folder / "metadata.parquet", lambda name: pq.write_table(made, name))
    return read(path)
