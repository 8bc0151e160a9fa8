"""`Decision`: what a person or a rule decided about a finding; audit, review and repair read the same record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.files import append_line, read_lines

VERDICTS = ("accept", "reject", "unsure")


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. The record is append-only: a later decision on the same finding replaces an earlier one.

    Attributes:
        data: fingerprint of the data set it was made on; a record made on other data is refused.
        ids: the samples it concerns.
        finding: key of the finding (:attr:`Finding.key`).
        verdict: ``accept`` (the finding is right, apply its action), ``reject`` (it is wrong) or ``unsure``.
        action: what to do when accepted: ``relabel``, ``drop`` or ``keep``.
        labels: for ``relabel``: the new class name of each id; several names where several are right, joined by ``|``.
        reviewer: who decided: a person's name, or ``rule:NAME``.
        time: when, ISO 8601 in UTC.
    """

    data: str
    ids: tuple[str, ...]
    finding: str
    verdict: str
    action: str = "keep"
    labels: tuple[str, ...] = ()
    reviewer: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        one_of("verdict", self.verdict, VERDICTS)
        one_of("action", self.action, ("relabel", "drop", "keep"))
        ok = (len(self.labels) == len(self.ids)) if self.action == "relabel" else not self.labels
        require(ok, "labels", self.labels, "one class name an id with action 'relabel', none otherwise")
        if not self.time:
            object.__setattr__(self, "time", datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def parse(cls, record: Any, where: str) -> Decision:
        """A decision from its JSON record, or an error naming ``where`` it stands."""
        try:
            known = {name: record[name] for name in cls.__slots__ if name in record}
            for name in ("ids", "labels"):
                if name in known:
                    known[name] = tuple(str(value) for value in known[name])
            return cls(**known)
        except (TypeError, KeyError, ValueError) as error:
            raise BadData(
                f"{where} is not a decision ({error}).", "See 'Decisions' in the architecture page."
            ) from error


def write_decisions(path: Path | str, decisions: Iterable[Decision]) -> None:
    """Append decisions to a JSON-lines file."""
    for decision in decisions:
        append_line(path, asdict(decision))


def read_decisions(path: Path | str, fingerprint: str | None = None) -> dict[str, Decision]:
    """The latest decision by finding key, in the order first decided.

    Raises:
        BadData: a record is not a decision, or was made on another data set than ``fingerprint``.
    """
    if not Path(path).exists():
        raise BadData(f"{path} does not exist.", "Name a decisions file written by an audit or a review.")
    latest: dict[str, Decision] = {}
    for number, record in enumerate(read_lines(path), start=1):
        decision = Decision.parse(record, f"{path} line {number}")
        if fingerprint is not None and decision.data != fingerprint:
            raise BadData(
                f"{path} line {number} was decided on another data set ({decision.data} instead of {fingerprint}).",
                "Use the decisions made for this data.",
            )
        latest[decision.finding] = decision
    return latest
