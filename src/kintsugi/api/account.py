"""The account of an `audit` or a `mend`: everything the report shows, from what was measured and the run's folder."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.findings import Findings
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage
from kintsugi.report.content import Curve, GeneratedPair, Repeat, Report, Rung
from kintsugi.report.evidence import STRIP
from kintsugi.report.pictures import shown, thumbnail

if TYPE_CHECKING:
    from kintsugi.api.audit import Audit
    from kintsugi.api.case import Case
    from kintsugi.api.mend import Mended, Tried
    from kintsugi.core.verdict import Verdict

GENERATED = 24  # generated images shown


def audited(case: Case, data: ImageSet, audit: Audit) -> Report:
    """The report of an audit alone."""
    left_out = sum(not problem.kept for problem in data.problems)
    return Report(
        title=f"An audit of {len(data)} images of {len(data.classes)} classes",
        notes=(f"{len(data)} images were read and {left_out} left out.", *audit.notes, *case.notes),
        findings=audit.findings,
        pictures=_thumbnails(case, audit.findings),
        repeat=_repeat(case),
        problems=tuple(data.problems),
        classes=data.classes,
    )


def compared(case: Case, verdict: Verdict, *notes: str) -> Report:
    """The report of a comparison alone."""
    return Report(
        title=f"Two classifiers of {len(case.data.classes)} classes compared",
        verdict=verdict,
        notes=(*notes, *case.notes),
        repeat=_repeat(case),
        problems=tuple(case.data.problems),
        classes=case.data.classes,
    )


def account(case: Case, mended: Mended) -> Report:
    """The report of a finished mend."""
    checks = [*mended.audit.findings]
    checks += [mended.stress.findings] if mended.stress else []
    checks += [mended.discovery.findings] if mended.discovery else []
    chosen = next(tried for tried in mended.tried if tried.chosen)
    pairs, pictures = _generated(case, mended, chosen)
    return Report(
        title=f"Mending a classifier of {len(case.data.classes)} classes",
        verdict=mended.verdict,
        notes=_notes(case, mended, chosen),
        rungs=tuple(_rung(tried) for tried in mended.tried),
        findings=tuple(checks),
        pictures={**_thumbnails(case, checks), **pictures},
        generated=pairs,
        curves=_curves(case, mended),
        repeat=_repeat(case),
        problems=(*case.data.problems.left_out, *case.remarks),
        classes=case.data.classes,
    )


def _repeat(case: Case) -> Repeat:
    """The command as it was typed, or none where the work was asked for in Python."""
    program = Path(sys.argv[0])
    typed = program.name == "kintsugi" or program.parts[-3:] == ("kintsugi", "cli", "main.py")
    commands = [shlex.join(("kintsugi", *sys.argv[1:]))] if typed else []
    return Repeat.here(*commands, seeds={"all streams": case.seed}, data=case.data.fingerprint)


def _notes(case: Case, mended: Mended, chosen: Tried) -> tuple[str, ...]:
    """What was done, a sentence each."""
    parts = case.parts
    left_out = len(case.data.problems.left_out)
    groups = " and ".join(("label", *case.attributes)) if case.attributes else "the classes: no attribute was named"
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
        *mended.notes,
        *case.notes,
    ]
    if chosen.score is not None and mended.verdict is None:
        notes.append("No repair was better on the selection part, so nothing was compared and the model is as it was.")
    return tuple(notes)


def _rung(tried: Tried) -> Rung:
    score = None if tried.score is None else tried.score.worst
    average = "" if tried.score is None else f"average {tried.score.average:.1%}"
    note = "; ".join(each for each in (average, tried.note) if each)
    return Rung(tried.name, tried.seconds, score, tried.chosen, note)


def _thumbnails(case: Case, checks: Sequence[Findings]) -> dict[str, bytes]:
    """Small pictures of the samples that the first findings of every check name; each is decoded once."""
    place = {name: row for row, name in enumerate(case.data.ids)}
    wanted: dict[str, None] = {}
    for check in checks:
        for row in shown(check):
            for name in (*row.ids, *row.evidence.get("samples", ())[:STRIP]):
                if name in place:
                    wanted.setdefault(name)
    made = {}
    for name in wanted:
        try:
            made[name] = thumbnail(case.data.source.read(int(case.data.rows[place[name]])))
        except BadImage:
            continue  # an image nobody can read has no picture; the problems name it
    return made


def _generated(case: Case, mended: Mended, chosen: Tried) -> tuple[tuple[GeneratedPair, ...], dict[str, bytes]]:
    """Images a recipe generated, beside what they started from, with both confidences.

    The chosen rung's where it made any, else those of the rung that did: what was tried is shown too.
    """
    names = dict.fromkeys((chosen.name, *(tried.name for tried in mended.tried)))
    paths = {name: case.run.path(f"rungs/{name}/generated.parquet") for name in names}
    made = next((name for name, path in paths.items() if path.exists()), None)
    if made is None:
        return (), {}
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(paths[made]).slice(0, GENERATED).to_pylist()
    after = _confidence(case, mended.model, rows) if made == chosen.name else [None] * len(rows)
    pairs, pictures = [], {}
    for row, now in zip(rows, after, strict=True):
        start = f"{row['id']}-start"
        pictures[row["id"]], pictures[start] = row["image"]["bytes"], row["start"]["bytes"]
        target, sure = case.data.classes[row["label"]], (float(row["teacher"]), float(row["student"]))
        note = "" if made == chosen.name else f"made by {made}, which was not chosen"
        pairs.append(GeneratedPair(row["id"], start, target, *sure, now, note))
    return tuple(pairs), pictures


def _confidence(case: Case, model: Any, rows: list[dict[str, Any]]) -> list[float]:
    """What the repaired model gives the class of each generated image."""
    from kintsugi.models.predict import predict

    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows])
    label = np.array([row["label"] for row in rows], dtype=np.int64)
    prob = predict(model, ImageSet.from_arrays(pixels, label, case.data.classes), device=case.device).prob
    return [float(p) for p in prob[np.arange(len(rows)), label]]


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
