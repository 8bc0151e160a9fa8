"""Views on disk: a new table over the pixels of other data, which stay where they are.

A folder with ``view.json`` (where the data is, how it was read, its fingerprint), ``table.parquet`` (one row a sample
that is still there, with its place in the data in the column ``row`` and, where images are files, their ``path``) and,
where decisions made it, ``patch.json``, which tells and undoes them. What ``kintsugi audit --apply`` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.files import read_json, write_json, write_with
from kintsugi.data import export
from kintsugi.data.apply import Patch
from kintsugi.data.columns import Columns
from kintsugi.data.encoded import Files
from kintsugi.data.imageset import ImageSet

_HEAD, _TABLE, _PATCH = "view.json", "table.parquet", "patch.json"
_OWN = ("row", "path", "id", "label")


def recognises(path: Path) -> bool:
    """Whether ``path`` is the folder of a view."""
    return path.is_dir() and (path / _HEAD).is_file()


def read(path: Path | str, columns: Columns | None = None) -> ImageSet:
    """Open the data below a view and lay the view's table over it. ``root`` says where the data is, if it has moved.

    Raises:
        BadData: the data is gone, or is not what the view was made on.
        BadArgument: other columns than attributes are named; the view has its own.
    """
    folder, columns = Path(path), columns or Columns()
    for name in ("label", "id", "path", "mask", "caption", "annotators", "split", "classes"):
        if (given := getattr(columns, name)) not in (None, ()):
            raise BadArgument(f"{name}={given!r} cannot be given for the view {path}.", "A view has its own columns.")
    whole = below(folder, columns.root)
    table = _table(folder)
    rows = np.asarray(table.column("row").to_numpy(), dtype=np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(whole):
        raise BadData(f"{folder / _TABLE} names row {int(rows.max())} of {len(whole)}.", "Restore the view.")
    view = whole.select(rows)
    if view.ids != table.column("id").to_pylist():
        raise BadData(f"{folder / _TABLE} calls the samples otherwise than the data does.", "Restore the view.")
    place = {name: number for number, name in enumerate(whole.classes)}
    try:
        labels = [-1 if name is None else place[name] for name in table.column("label").to_pylist()]
    except KeyError as error:
        raise BadData(f"{folder / _TABLE} has a label {error} that is no class of the data.", "Restore it.") from None
    view = view.with_column("label", np.array(labels, dtype=np.int64))
    for name in table.column_names:
        if name not in _OWN:
            view = view.with_column(name, table.column(name))
    for name in columns.attributes:
        view.column(name)
    return view


def below(path: Path | str, root: Path | None = None) -> ImageSet:
    """The data a view was made on, as it was.

    Args:
        path: the view's folder.
        root: where the data is now, if it has moved.

    Raises:
        BadData: it is gone, or has changed since.
    """
    from kintsugi.data.formats import open_data

    head = read_json(Path(path) / _HEAD)
    try:
        where, how, fingerprint = str(head["data"]), dict(head["columns"]), str(head["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"{Path(path) / _HEAD} does not describe a view ({error}).", "Restore it.") from error
    where = where if root is None else str(root)
    if not where.startswith("hf:") and not Path(where).exists():
        raise BadData(f"The data of the view {path} is no longer at {where}.", "Name its place with --root.")
    whole = open_data(where, **how)
    if whole.fingerprint != fingerprint:
        raise BadData(
            f"The data at {where} is not what the view {path} was made on ({whole.fingerprint} instead of "
            f"{fingerprint}).",
            "Give back the data as it was, or make the view anew.",
        )
    return whole


def write(
    view: ImageSet, path: Path | str, *, data: str | Path, whole: ImageSet, columns: Mapping[str, Any], patch: Patch,
    why: Mapping[str, str] | None = None,
) -> ImageSet:  # fmt: skip
    """Write a view and open it. Nothing is ever written over, and no pixel is copied.

    Args:
        view: what to write; a view of ``whole``.
        path: a new folder.
        data: where ``whole`` was read from.
        whole: the data as it was read.
        columns: how it was read: the arguments of :func:`~kintsugi.data.formats.open_data`.
        patch: what was changed.
        why: a sentence by finding, for the patch.

    Raises:
        BadData: the folder exists or cannot be written, or ``view`` holds samples that ``whole`` does not.
    """
    place = {name: number for number, name in enumerate(whole.ids)}
    if view.source is not whole.source or any(name not in place for name in view.ids):
        raise BadData("The view holds samples of other data.", "Make it from the data it is written over.")
    table = export.named_table(view)
    table = table.append_column("row", pa.array([place[name] for name in view.ids], pa.int64()))
    if isinstance(view.source, Files):
        table = table.append_column("path", pa.array([view.source.paths[row] for row in view.rows], pa.string()))
    where = str(data) if str(data).startswith("hf:") else str(Path(data).resolve())
    how = {name: str(value) if isinstance(value, Path) else value for name, value in columns.items()}
    told = patch.as_dict()
    for change in told["changes"]:
        change["why"] = (why or {}).get(change["finding"], "")
    with export.staged(path) as folder:
        write_with(folder / _TABLE, lambda name: pq.write_table(table, name))
        write_json(folder / _PATCH, told)
        write_json(folder / _HEAD, {"data": where, "columns": how, "fingerprint": whole.fingerprint})
    return read(path)


def undone(path: Path | str, patch: Path | str, root: Path | None = None) -> tuple[ImageSet, ImageSet, Patch]:
    """Take the changes of a patch file back from a view.

    Args:
        path: the view's folder.
        patch: the patch file, usually the view's own ``patch.json``.
        root: where the data is now, if it has moved.

    Returns:
        The view without the changes, the data it stands on, and a patch that tells of what is left changed (nothing).

    Raises:
        BadData: the patch was made on other data, or is none.
    """
    changed = read(path, Columns(root=root))
    whole = below(path, root)
    changed = ImageSet(whole.source, changed.table, changed.classes, rows=changed.rows, problems=whole.problems)
    back = Patch.parse(read_json(patch), str(patch), whole).undo(changed)
    return back, whole, Patch(whole.fingerprint, (), (), whole)


def _table(folder: Path) -> pa.Table:
    try:
        table = pq.read_table(folder / _TABLE)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadData(f"{folder / _TABLE} cannot be read ({str(error).splitlines()[0]}).", "Restore it.") from error
    missing = [name for name in ("row", "id", "label") if name not in table.column_names]
    if missing:
        raise BadArgument(f"{folder / _TABLE} has no column {missing[0]!r}.", "Restore the view.")
    return table
