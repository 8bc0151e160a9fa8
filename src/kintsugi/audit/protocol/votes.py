"""What reviewers said: one vote a line, in CSV or JSON, and the tables that estimates are made from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.files import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERDICTS = ("correct", "incorrect", "unidentifiable")
IMAGE_FLAGS = ("several_types", "humans", "too_blurry", "artificial", "collage")
CLASS_FLAGS = ("ill_defined", "overlapping", "not_a_kind", "outdated_name")
STRATA = ("uniform", "queue")


@dataclass(frozen=True, slots=True)
class Vote:
    """One reviewer's word on one image.

    Attributes:
        id: the sample.
        reviewer: who.
        verdict: ``correct``, ``incorrect`` or ``unidentifiable`` (nobody could tell: kept apart from wrong).
        label: the right class's name, where another fits.
        flags: of :data:`IMAGE_FLAGS`.
        stratum: how the image came to be looked at: ``uniform`` (by lot) or ``queue`` (it looked suspicious).
    """

    id: str
    reviewer: str
    verdict: str
    label: str = ""
    flags: tuple[str, ...] = ()
    stratum: str = "uniform"

    def __post_init__(self) -> None:
        require(bool(self.id), "id", self.id, "the sample's id")
        require(bool(self.reviewer), "reviewer", self.reviewer, "the reviewer's name")
        one_of("verdict", self.verdict, VERDICTS)
        one_of("stratum", self.stratum, STRATA)
        for flag in self.flags:
            one_of("flags", flag, IMAGE_FLAGS)


def write_votes(path: Path | str, votes: Iterable[Vote]) -> None:
    """To ``.json`` or ``.csv``; flags are joined by ``|`` in CSV."""
    rows = [asdict(vote) for vote in votes]
    if Path(path).suffix == ".json":
        write_json(path, rows)
        return
    text = StringIO()
    writer = csv.DictWriter(text, list(Vote.__slots__))
    writer.writeheader()
    writer.writerows({**row, "flags": "|".join(row["flags"])} for row in rows)
    Path(path).write_text(text.getvalue(), encoding="utf-8", newline="")


def read_votes(path: Path | str) -> tuple[Vote, ...]:
    """From ``.json`` or ``.csv``.

    Raises:
        BadData: a line is no vote, or a reviewer voted twice on one image.
    """
    if not Path(path).is_file():
        raise BadData(f"{path} does not exist.", "Name a file of votes.")
    rows: Any
    if Path(path).suffix == ".json":
        rows = read_json(Path(path))
    else:
        rows = list(csv.DictReader(StringIO(Path(path).read_text(encoding="utf-8"))))
    votes = []
    for number, row in enumerate(rows, start=1):
        try:
            known = {name: row[name] for name in Vote.__slots__ if row.get(name)}
            flags = known.get("flags", ())
            known["flags"] = tuple(flags.split("|") if isinstance(flags, str) else flags)
            votes.append(Vote(**known))
        except (TypeError, AttributeError, ValueError) as error:
            raise BadData(
                f"Vote {number} of {path} is none ({error}).", f"Columns: {', '.join(Vote.__slots__)}."
            ) from error
    check_votes(votes)
    return tuple(votes)


def check_votes(votes: Sequence[Vote]) -> None:
    """Refuse a reviewer's second vote on an image, and an image in two strata.

    Raises:
        BadData: either.
    """
    seen: set[tuple[str, str]] = set()
    strata: dict[str, str] = {}
    for vote in votes:
        if (vote.id, vote.reviewer) in seen:
            raise BadData(f"{vote.reviewer!r} voted twice on {vote.id!r}.", "Keep the later vote.")
        if strata.setdefault(vote.id, vote.stratum) != vote.stratum:
            raise BadData(f"{vote.id!r} is in both strata.", "An image drawn by lot belongs to the uniform one.")
        seen.add((vote.id, vote.reviewer))


def verdict_table(votes: Sequence[Vote]) -> tuple[list[str], NDArray[np.int64]]:
    """Ids in order of first appearance, and each reviewer's verdict, int64 ``[ids, reviewers]``, -1 where none."""
    ids = {name: i for i, name in enumerate(dict.fromkeys(vote.id for vote in votes))}
    people = {name: i for i, name in enumerate(dict.fromkeys(vote.reviewer for vote in votes))}
    table = np.full((len(ids), len(people)), -1, dtype=np.int64)
    for vote in votes:
        table[ids[vote.id], people[vote.reviewer]] = VERDICTS.index(vote.verdict)
    return list(ids), table


def majority(table: NDArray[np.int64], choices: int) -> NDArray[np.int64]:
    """The answer more people gave than any other, int64 ``[ids]``; -1 where two are level: a lot decides nothing."""
    counts = np.stack([(table == k).sum(axis=1) for k in range(choices)], axis=1)
    top = np.sort(counts, axis=1)[:, ::-1]
    return np.where(top[:, 0] > top[:, 1], counts.argmax(axis=1), -1).astype(np.int64)
