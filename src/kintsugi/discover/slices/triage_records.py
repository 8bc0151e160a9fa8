"""What reviewers decided about a model's mistakes, in JSON; the slice every model must pass; labels to be added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.files import read_json, write_json

CATEGORIES = ("fine_grained", "fine_grained_oov", "spurious", "non_prototypical")
SEVERITIES = ("major", "minor", "borderline")


@dataclass(frozen=True, slots=True)
class TriageRecord:
    """One reviewer's word on one mistake of one model.

    Attributes:
        id: the sample.
        model: whose answer it was.
        answer: the class it gave, by name.
        reviewer: who.
        valid: whether the answer is right after all: then it belongs into the label set, and there is no mistake.
        category: of :data:`CATEGORIES`, where it is a mistake.
        severity: of :data:`SEVERITIES`, where it is a mistake; ``borderline`` counts as minor.
    """

    id: str
    model: str
    answer: str
    reviewer: str
    valid: bool = False
    category: str = ""
    severity: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "model", "answer", "reviewer"):
            require(bool(getattr(self, name)), name, getattr(self, name), "a name")
        if self.valid:
            require(not self.category and not self.severity, "category", self.category, "none for a valid answer")
        else:
            one_of("category", self.category, CATEGORIES)
            one_of("severity", self.severity, SEVERITIES)


def write_records(path: Path | str, records: Iterable[TriageRecord]) -> None:
    """To JSON."""
    write_json(path, [asdict(record) for record in records])


def read_records(path: Path | str) -> tuple[TriageRecord, ...]:
    """From JSON.

    Raises:
        BadData: an entry is no record.
    """
    made = []
    for number, row in enumerate(read_json(Path(path)), start=1):
        try:
            made.append(TriageRecord(**{name: row[name] for name in TriageRecord.__slots__ if name in row}))
        except (TypeError, ValueError) as error:
            raise BadData(f"Record {number} of {path} is none ({error}).", "See triage_records.py.") from error
    return tuple(made)


def regression_slice(records: Sequence[TriageRecord], *, models: int = 2) -> tuple[str, ...]:
    """Ids of obvious mistakes of several models: what any further model must get right (top-1, any valid label).

    A mistake is major where more than half of its reviewers say so. The models that chose the slice fail on it by
    construction: their own scores mean nothing.

    Args:
        records: of reviews.
        models: how many models must make a major mistake on an image.
    """
    require(models >= 1, "models", models, "1 or more")
    votes: dict[tuple[str, str], list[bool]] = {}
    for record in records:
        votes.setdefault((record.id, record.model), []).append(record.severity == "major" and not record.valid)
    failed: dict[str, int] = {}
    for (name, _), major in votes.items():
        failed[name] = failed.get(name, 0) + (2 * sum(major) > len(major))
    return tuple(sorted(name for name, count in failed.items() if count >= models))


def valid_answers(records: Sequence[TriageRecord]) -> dict[str, tuple[str, ...]]:
    """Answers that more than half of their reviewers call valid, by id: labels for a new version of the sets."""
    votes: dict[tuple[str, str], dict[str, bool]] = {}
    for record in records:
        votes.setdefault((record.id, record.answer), {})[record.reviewer] = record.valid
    made: dict[str, list[str]] = {}
    for (name, answer), said in votes.items():
        if 2 * sum(said.values()) > len(said):
            made.setdefault(name, []).append(answer)
    return {name: tuple(sorted(answers)) for name, answers in made.items()}
