"""A sheet of samples drawn at random whose labels a person looks at: how many are wrong when no check can tell.

Samples that a check put first say nothing about the others, so a count needs a draw by lot. The sheet is a CSV file
that any spreadsheet opens, in random order: whoever stops early has looked at a random part.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.labels.noise_rate import ENOUGH
from kintsugi.core.errors import BadData
from kintsugi.core.files import atomic

if TYPE_CHECKING:
    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet

SHEET = "review.csv"
COLUMNS = ("data", "id", "label", "verdict")
SAID = {"right": 0.0, "wrong": 1.0, "unsure": float("nan")}


def draw(run: Run, data: ImageSet, rng: np.random.Generator) -> Path | None:
    """Write the sheet, unless there is one of this data; that of other data is kept under another name.

    Returns:
        Its path; None where fewer samples than :data:`~kintsugi.audit.labels.noise_rate.ENOUGH` have a label.
    """
    labelled = np.flatnonzero(data.labels >= 0)
    path = run.path(SHEET)
    if len(labelled) < ENOUGH:
        return None
    if path.exists():
        if _is_of(path, data):
            return path
        number = next(n for n in range(1, 10_000) if not run.path(f"review-{n}.csv").exists())
        path.replace(run.path(f"review-{number}.csv"))
    text = io.StringIO(newline="")
    sheet = csv.writer(text)
    sheet.writerow(COLUMNS)
    for row in labelled[rng.permutation(len(labelled))[:ENOUGH]].tolist():
        sheet.writerow((data.fingerprint, data.ids[row], data.classes[data.labels[row]], ""))
    with atomic(path) as out:
        out.write(text.getvalue().encode())
    return path


def read(path: Path | str, data: ImageSet) -> dict[str, float]:
    """What a sheet says: 1 wrong, 0 right, NaN unsure, by id; rows without a verdict are left out.

    Raises:
        BadData: there is no such file, it is no sheet, or one of other data, or a row names no sample of the data, says
            another word, or repeats a sample.
    """
    rows = _rows(Path(path))
    named, said = {name: name for name in data.ids}, dict[str, float]()
    for name in data.ids:
        if name.isdecimal():  # spreadsheets drop leading zeros
            named.setdefault(str(int(name)), name)
    seen = set[str]()
    for row in rows:
        where = f"{path} line {rows.line_num}"
        word = (row["verdict"] or "").strip().lower()
        if row["data"] != data.fingerprint:
            raise BadData(f"{where} was drawn from another data set ({row['data']}).", "Use the sheet of this data.")
        if row["id"] not in named:
            raise BadData(f"{where}: there is no sample {row['id']!r}.", "Leave the ids of the sheet as they are.")
        name = named[row["id"]]
        if name in seen:
            raise BadData(f"{where}: {row['id']!r} stands there twice.", "Leave one of the two.")
        seen.add(name)
        if word and word not in SAID:
            raise BadData(f"{where}: verdict is {row['verdict']!r}.", f"Write {', '.join(SAID)}, or nothing.")
        if word:
            said[name] = SAID[word]
    return said


def _rows(path: Path) -> csv.DictReader[str]:
    """The rows of a sheet, whatever parts its columns."""
    if not path.is_file():
        raise BadData(f"{path} does not exist.", f"Name a {SHEET} that an audit wrote and you filled in.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path} is not UTF-8 text ({error.reason}).", "Save it as CSV in UTF-8.") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), dialect=_dialect(text))
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise BadData(f"{path} has no column {missing[0]!r}.", f"A sheet has the columns {', '.join(COLUMNS)}.")
    return rows


def _is_of(path: Path, data: ImageSet) -> bool:
    """Whether it is a sheet of this data."""
    try:
        return next(_rows(path), {}).get("data") == data.fingerprint
    except BadData:
        return False  # no sheet any more: it is kept under another name


def _dialect(text: str) -> type[csv.Dialect]:
    """Comma or, as spreadsheets of some countries save it, semicolon or tab: what the first line is parted by."""
    head = text.partition("\n")[0]

    class Parted(csv.excel):
        delimiter = max(",;\t", key=head.count)

    return Parted
