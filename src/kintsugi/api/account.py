"""The account of a `mend`: everything the report shows, gathered from what was measured and from the run's folder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kintsugi.core.findings import Findings
from kintsugi.core.run import Run
from kintsugi.data.source import BadImage
from kintsugi.report.content import Curve, GeneratedPair, Repeat, Report, Rung
from kintsugi.report.pictures import PER_CHECK, thumbnail

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.api.mend import Mended, Tried


GENERATED = 24  # generated images shown


def account(case: Case, mended: Mended) -> Report:
    """The report of a finished mend."""
    checks = [*mended.audit.findings]
    checks += [mended.stress.findings] if mended.stress else []
    checks += [mended.discovery.findings] if mended.discovery else []
    chosen = next(tried for tried in mended.tried if tried.chosen)
    pairs, pictures = _generated(case.run.sub(f"rungs/{chosen.name}"), case)
    return Report(
        title=f"Mending a classifier of {len(case.data.classes)} classes",
        verdict=mended.verdict,
        notes=_notes(case, mended, chosen),
        rungs=tuple(_rung(tried) for tried in mended.tried),
        findings=tuple(checks),
        pictures={**_thumbnails(case, checks), **pictures},
        generated=pairs,
        curves=_curves(case, mended),
        repeat=Repeat.here(
            "kintsugi " + " ".join(sys.argv[1:]), seeds={"all streams": case.seed}, data=case.data.fingerprint
        ),
        problems=(*case.data.problems.left_out, *case.remarks),
    )


def _notes(case: Case, mended: Mended, chosen: Tried) -> tuple[str, ...]:
    """What was done, a sentence each."""
    parts = case.parts
    left_out = len(case.data.problems.left_out)
    groups = " and ".join(("label", *case.attributes))
    notes = [
        (
            f"{len(case.data)} images were read and {left_out} left out; {len(parts.train)} train, {len(parts.select)} "
            f"select, {len(parts.holdout)} prove."
        ),
        (
            f"Groups are {groups}. The worst group's accuracy on the selection part chose the repair; the hold-out "
            "part was opened once, for the chosen one."
        ),
        "The training part alone was audited, so that no correction rests on a label it is judged on.",
        *parts.notes,
        *mended.audit.notes,
        *(f"{check} could not be done: {why}" for check, why in mended.audit.undone),
        *case.notes,
    ]
    if chosen.score is not None and mended.verdict is None:
        notes.append("No repair was better on the selection part, so nothing was compared and the model is as it was.")
    return tuple(notes)


def _rung(tried: Tried) -> Rung:
    score = None if tried.score is None else tried.score.worst
    note = tried.note if tried.score is None else f"{tried.note} average {tried.score.average:.1%}".strip()
    return Rung(tried.name, tried.seconds, score, tried.chosen, note)


def _thumbnails(case: Case, checks: list[Findings]) -> dict[str, bytes]:
    """Small pictures of the samples that the first findings of every check name; each is decoded once."""
    place = {name: row for row, name in enumerate(case.data.ids)}
    wanted: dict[str, None] = {}
    for check in checks:
        for row in check.rows[:PER_CHECK]:
            for name in (*row.ids, *row.evidence.get("samples", ())):
                if name in place:
                    wanted.setdefault(name)
    made = {}
    for name in wanted:
        try:
            made[name] = thumbnail(case.data.source.read(int(case.data.rows[place[name]])))
        except BadImage:
            continue  # an image nobody can read has no picture; the problems name it
    return made


def _generated(run: Run, case: Case) -> tuple[tuple[GeneratedPair, ...], dict[str, bytes]]:
    """Images a recipe generated, beside what they started from, with both confidences."""
    path = run.path("generated.parquet")
    if not path.exists():
        return (), {}
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).slice(0, GENERATED).to_pylist()
    pairs, pictures = [], {}
    for row in rows:
        start = f"{row['id']}-start"
        pictures[row["id"]], pictures[start] = row["image"]["bytes"], row["start"]["bytes"]
        pairs.append(
            GeneratedPair(
                row["id"], start, case.data.classes[row["label"]], float(row["teacher"]), float(row["student"])
            )
        )
    return tuple(pairs), pictures


def _curves(case: Case, mended: Mended) -> tuple[Curve, ...]:
    """The loss of every training that was logged."""
    curves = []
    for tried in mended.tried:
        folder = case.run.path(f"rungs/{tried.name}")
        for path in sorted(folder.rglob("metrics.jsonl")) if folder.is_dir() else ():
            lines = [line for line in Run(path.parent).metrics() if "loss" in line and "step" in line]
            name = " ".join((tried.name, *path.parent.relative_to(folder).parts))
            if len(lines) > 1:
                steps = tuple(float(line["step"]) for line in lines)
                curves.append(Curve("training loss", name, steps, tuple(float(line["loss"]) for line in lines)))
    return tuple(curves)
