"""What a report says, as data: written as one page, as JSON and as Parquet, and read back from a run's folder."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.files import read_json, write_json, write_with
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.verdict import Effect, Verdict
from kintsugi.data.source import Problem
from kintsugi.report.pictures import PER_CHECK, kind_of

if TYPE_CHECKING:
    from kintsugi.core.run import Run

FORMAT = 1
FILES = ("report.html", "report.json", "findings.parquet", "pictures.parquet")


@dataclass(frozen=True, slots=True)
class Rung:
    """One repair that was tried.

    Attributes:
        name: of the method, with what distinguishes this try.
        seconds: what it cost.
        score: on the selection split, in 0..1; None where it failed or the budget ended.
        chosen: whether it is the one that was proven.
        note: why it was chosen, left out or cut short, in words.
    """

    name: str
    seconds: float
    score: float | None
    chosen: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class GeneratedPair:
    """A generated image beside the image it was made from.

    Attributes:
        generated: key of its picture.
        source: key of the source's picture; empty when it was made from noise.
        target: class it was made as.
        teacher: the teacher's confidence in that class.
        student: the student's, before it learned from the image.
        student_after: the student's after the repair, if known.
        note: anything else a reader should see.
    """

    generated: str
    source: str
    target: str
    teacher: float
    student: float
    student_after: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """A number over training; curves of one panel are drawn together.

    Attributes:
        panel: what is measured, such as ``loss`` or ``worst-group accuracy (selection)``.
        name: of the curve.
        step: where it was measured.
        value: what was measured; None (or a number that is not finite) breaks the curve.
    """

    panel: str
    name: str
    step: tuple[float, ...]
    value: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if len(self.step) != len(self.value):
            raise BadArgument(
                f"{len(self.value)} values for {len(self.step)} steps of {self.name!r}:", "give one each."
            )
        finite = tuple(v if v is not None and math.isfinite(v) else None for v in self.value)
        object.__setattr__(self, "value", finite)


@dataclass(frozen=True)
class Repeat:
    """How to repeat the work.

    Attributes:
        commands: shell lines.
        versions: of Python and libraries.
        seeds: by what they are for.
        data: fingerprint of the data set.
        settings: anything else that must agree, by name.
    """

    commands: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    data: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls, *commands: str, seeds: Mapping[str, int] | None = None, data: str = "", **settings: str) -> Repeat:
        """With the versions of this process."""
        versions = {"python": sys.version.split()[0]}
        for name in ("kintsugi-vision", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pyarrow", "pillow"):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                versions[name] = "not installed as a distribution"
        return cls(tuple(commands), versions, dict(seeds or {}), data, dict(settings))


@dataclass(frozen=True)
class Report:
    """Everything a reader is shown.

    Attributes:
        title: of the page.
        verdict: of the comparison, or None where nothing was compared.
        notes: what was done, one sentence each.
        groups: before and after by group; empty takes the verdict's.
        rungs: the repairs tried, in order.
        findings: of every check; no two of one card.
        pictures: PNG or JPEG by sample id or key; see :mod:`kintsugi.report.pictures`.
        generated: generated images beside their sources.
        curves: of training.
        repeat: how to repeat the work.
        problems: images and rows that were left out.
        classes: names of the classes, for suggestions that point to one.
    """

    title: str
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    groups: tuple[Effect, ...] = ()
    rungs: tuple[Rung, ...] = ()
    findings: tuple[Findings, ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    generated: tuple[GeneratedPair, ...] = ()
    curves: tuple[Curve, ...] = ()
    repeat: Repeat = field(default_factory=Repeat)
    problems: tuple[Problem, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        cards = [each.card for each in self.findings]
        twice = sorted({card for card in cards if cards.count(card) > 1})
        if twice:
            raise BadArgument(f"findings holds {twice[0]!r} more than once:", "join the findings of one check.")
        for name, picture in self.pictures.items():
            kind_of(picture, name)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Before and after by group, the verdict's where none were given."""
        return self.groups or (self.verdict.groups if self.verdict else ())

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: all but the findings' rows and the pictures, which are Parquet."""
        return {
            "format": FORMAT,
            "title": self.title,
            "verdict": asdict(self.verdict) if self.verdict else None,
            "line": str(self.verdict) if self.verdict else None,
            "notes": list(self.notes),
            "groups": [asdict(each) for each in self.groups],
            "rungs": [asdict(each) for each in self.rungs],
            "findings": [
                {"card": each.card, "params": dict(each.params), "summary": asdict(each.summary), "rows": len(each)}
                for each in self.findings
            ],
            "generated": [asdict(each) for each in self.generated],
            "curves": [asdict(each) for each in self.curves],
            "repeat": {
                "commands": list(self.repeat.commands),
                "versions": dict(self.repeat.versions),
                "seeds": dict(self.repeat.seeds),
                "data": self.repeat.data,
                "settings": dict(self.repeat.settings),
            },
            "problems": [asdict(each) for each in self.problems],
            "classes": list(self.classes),
        }

    def save(self, run: Run, *, per_check: int = PER_CHECK) -> Path:
        """Write :data:`FILES` into the run's folder.

        Args:
            run: whose folder.
            per_check: findings shown a check on the page; all are in the table.

        Returns:
            The page.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from kintsugi.report.page import write_report

        pictures = pa.table(
            {
                "id": pa.array(list(self.pictures), pa.string()),
                "picture": pa.array(list(self.pictures.values()), pa.binary()),
            }
        )
        write_with(run.path("pictures.parquet"), lambda name: pq.write_table(pictures, name))
        run.save_findings(*(self.findings or (Findings((), ""),)))
        write_json(run.path("report.json"), self.as_dict())
        return write_report(self, run.path("report.html"), per_check=per_check)

    @classmethod
    def load(cls, run: Run) -> Report:
        """Read what :meth:`save` wrote.

        Raises:
            BadData: a file is missing or is not what it should be.
        """
        for name in FILES[1:]:
            if not run.path(name).exists():
                raise BadData(f"{run.path(name)} does not exist.", "Name the folder of a run that wrote a report.")
        data = read_json(run.path("report.json"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadData(f"{run.path('report.json')} is not a report of format {FORMAT}.", "Repeat the run.")
        try:
            return cls(
                title=str(data["title"]),
                verdict=_verdict(data["verdict"]),
                notes=tuple(data["notes"]),
                groups=tuple(_effect(each) for each in data["groups"]),
                rungs=tuple(Rung(**each) for each in data["rungs"]),
                findings=_findings(run, data["findings"]),
                pictures=_pictures(run),
                generated=tuple(GeneratedPair(**each) for each in data["generated"]),
                curves=tuple(_tuples(Curve, each) for each in data["curves"]),
                repeat=_tuples(Repeat, data["repeat"]),
                problems=tuple(Problem(**each) for each in data["problems"]),
                classes=tuple(data.get("classes", ())),  # not in the first reports
            )
        except (KeyError, TypeError, ValueError) as error:
            where = run.path("report.json")
            raise BadData(
                f"{where} is not a whole report ({type(error).__name__}: {error}).", "Repeat the run."
            ) from error


def _tuples(kind: Any, record: Mapping[str, Any]) -> Any:
    """A record whose lists were tuples before they were JSON."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})


def _effect(record: Mapping[str, Any]) -> Effect:
    made: Effect = _tuples(Effect, record)
    return made


def _verdict(record: Mapping[str, Any] | None) -> Verdict | None:
    if record is None:
        return None
    made: Verdict = _tuples(Verdict, {**record, "groups": [_effect(each) for each in record["groups"]]})
    return made


def _findings(run: Run, records: list[dict[str, Any]]) -> tuple[Findings, ...]:
    import json

    rows: dict[str, list[Finding]] = {record["card"]: [] for record in records}
    for row in _table(run, "findings.parquet"):
        row.pop("key")
        card = row.pop("card")
        evidence = json.loads(row.pop("evidence"))
        rows[card].append(Finding(**{**row, "ids": tuple(row["ids"]), "evidence": evidence}))
    return tuple(
        Findings(tuple(rows[each["card"]]), each["card"], each["params"], _tuples(Summary, each["summary"]))
        for each in records
    )


def _pictures(run: Run) -> dict[str, bytes]:
    return {row["id"]: row["picture"] for row in _table(run, "pictures.parquet")}


def _table(run: Run, name: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(run.path(name)).to_pylist())
    except pa.ArrowException as error:
        raise BadData(f"{run.path(name)} is not Parquet ({error}).", "Repeat the run.") from error
