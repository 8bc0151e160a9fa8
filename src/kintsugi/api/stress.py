"""``stress``: accuracy by group under corruptions, attacks and planted cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.budget import BudgetSpent, within
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import Tracker, task
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.core.registry import Entry, find, of_kind
from kintsugi.data.imageset import ImageSet
from kintsugi.data.stream import none_read
from kintsugi.models.predict import as_images, batches, evaluating

if TYPE_CHECKING:
    from kintsugi.api.case import Case

Rows = np.ndarray[Any, np.dtype[np.int64]]
KINDS = ("corruption", "bias", "attack")  # from the cheapest to the dearest


@dataclass(frozen=True)
class Row:
    """Accuracy under one change.

    Attributes:
        kind: ``clean``, ``corruption``, ``bias`` or ``attack``.
        name: the method.
        level: severity 1..5, or eps; 0 for clean and bias.
        average: accuracy.
        worst: worst-group accuracy.
        worst_group: its name.
    """

    kind: str
    name: str
    level: float
    average: float
    worst: float
    worst_group: str


@dataclass(frozen=True)
class Stress:
    """The table, and what of it is a finding.

    Attributes:
        rows: the clean row first.
        findings: one a change.
        images: how many the shares are of.
        notes: what was left out, in words.
    """

    rows: tuple[Row, ...]
    findings: Findings
    images: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        from dataclasses import asdict

        return {
            "images": self.images,
            "rows": [asdict(row) for row in self.rows],
            "flagged": [row.why for row in self.findings.flagged],
            "notes": list(self.notes),
        }


def stress(
    case: Case,
    *,
    methods: Sequence[str] | None = None,
    severities: Sequence[int] = (1, 3, 5),
    eps: Sequence[float] = (2 / 255, 8 / 255),
    sample: int | None = 2000,
    drop: float = 0.2,
    batch_size: int = 64,
    budget: float | None = None,
    save: bool = True,
) -> Stress:
    """Try every corruption, bias and attack of the house on the hold-out's sibling, the selection part.

    The hold-out stays closed: it proves repairs and is not looked at before. Only samples that the model gets right
    are attacked; the others are broken already.

    Args:
        case: data and a model that can be asked; without weights it has no gradients, and attacks are left out.
        methods: names; None for all.
        severities: of corruptions, 1..5.
        eps: of attacks, l-infinity in 0..1.
        sample: most images to use; None for all.
        drop: loss of accuracy, in shares, from which a row is flagged.
        batch_size: images at a time.
        budget: seconds, from the cheapest change to the dearest; what they do not suffice for is left out, and the
            notes say so. None for no bound.
        save: write ``findings.parquet`` into ``stress/`` of the case's folder.
    """
    model = case.need_model("answers")
    data = case.parts.select
    data = data.where(data.labels >= 0)
    if sample is not None and len(data) > sample:
        data = data.select(np.sort(numpy_rng(case.seed, "stress").permutation(len(data))[:sample]))
    plan, notes = _planned(model, methods, {"corruption": severities, "attack": eps})
    rows: list[Row] = []
    groups = case.groups(data)
    known = np.arange(len(data))
    with task("stress", (len(plan) + 1) * len(data)) as tracker:
        first = _answers(case, model, data, None, batch_size, known, tracker)
        clean = _accuracy("clean", "clean", 0.0, first, data, groups)
        right = np.flatnonzero(first == data.labels)
        try:
            with within(budget):
                for entry, level in plan:
                    kind, name = entry.card.kind, entry.card.name
                    method, view = entry.load()(), data
                    tracker.advance(0, note=name)
                    if kind == "bias":
                        view = method(data, numpy_rng(case.seed, "stress", name))
                    change = _change(kind, method, model, level, case, name)
                    answers, asked = first.copy(), right if kind == "attack" else known
                    answers[asked] = _answers(case, model, view, change, batch_size, asked, tracker)[asked]
                    tracker.advance(len(data) - len(asked))
                    rows.append(_accuracy(kind, name, level, answers, data, groups))
        except BudgetSpent:
            left = ", ".join(_level(entry.card.kind, entry.card.name, level) for entry, level in plan[len(rows) :])
            notes.append(f"{len(rows)} of {len(plan)} changes were tried; time was too short for: {left}.")
    found = [_finding(row, clean, drop) for row in rows]
    findings = Findings.of(found, "stress", {"drop": drop}, Summary(threshold=drop, notes=tuple(notes)))
    result = Stress((clean, *rows), findings, len(data), tuple(notes))
    if save:
        case.run.sub("stress").save_findings(result.findings)
    return result


def _planned(
    model: Any, methods: Sequence[str] | None, levels: dict[str, Sequence[float]]
) -> tuple[list[tuple[Entry, float]], list[str]]:
    """Every change at every level, and what had to be left out for this model."""
    entries = [entry for kind in KINDS for entry in of_kind(kind)]
    if methods:
        entries = [find(name, KINDS) for name in methods]
    notes = []
    if not hasattr(model, "parameters") and (blind := [each for each in entries if each.card.kind == "attack"]):
        entries = [entry for entry in entries if entry not in blind]
        names = ", ".join(entry.card.name for entry in blind)
        notes.append(f"The model is a black box without gradients, so it was not attacked ({names}).")
    return [(entry, level) for entry in entries for level in levels.get(entry.card.kind, (0.0,))], notes


def _change(kind: str, method: Any, model: Any, level: float, case: Case, name: str) -> Any:
    if kind == "corruption":
        return lambda batch, step: method(batch.image, int(level), torch_rng(case.seed, "stress", name, step))
    if kind == "attack":
        return lambda batch, step: (
            method(
                model, batch, eps=level, rng=torch_rng(case.seed, "stress", name, step, device=batch.image.device)
            ).image
        )
    return None


def _answers(
    case: Case, model: Any, data: ImageSet, change: Any, batch_size: int, asked: Rows, tracker: Tracker
) -> Rows:
    """Predicted class of each sample asked about, -1 elsewhere and where the image is broken."""
    answers = np.full(len(data), -1, dtype=np.int64)
    with evaluating(model, case.device) as place:
        for step, (rows, pixels) in enumerate(batches(data, model, batch_size, rows=asked)):
            label = torch.from_numpy(data.labels[rows]).to(place)
            batch = Batch(as_images(pixels, place), label, torch.from_numpy(rows))
            image = batch.image if change is None else change(batch, step)
            with torch.no_grad():
                answers[rows] = model(image).argmax(1).cpu().numpy()
            tracker.advance(len(rows))
    return answers


def _accuracy(kind: str, name: str, level: float, answers: Any, data: ImageSet, groups: Any) -> Row:
    known = (answers >= 0) & (data.labels >= 0)
    if not known.any():
        raise none_read(data)
    right = answers == data.labels
    by_group = [
        (float(right[m].mean()), groups.names[g]) for g in range(len(groups)) if len(m := _kept(groups, g, known))
    ]
    worst, where = min(by_group) if by_group else (float("nan"), "")
    return Row(kind, name, float(level), float(right[known].mean()), worst, where)


def _kept(groups: Any, g: int, known: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    members = groups.members(g)
    return np.asarray(members[known[members]])


def _level(kind: str, name: str, level: float) -> str:
    """A change in words."""
    return name + {"corruption": f" at severity {level:g}", "attack": f" at eps {level:.3g}"}.get(kind, "")


def _finding(row: Row, clean: Row, drop: float) -> Finding:
    fall = clean.average - row.average
    change = _level(row.kind, row.name, row.level)
    return Finding(
        subject="dataset",
        ids=(change,),
        score=float(np.clip(fall, 0, 1)),
        flagged=fall >= drop,
        check=row.kind,
        suggestion="augment" if row.kind == "corruption" else "review",
        why=f"{change}: accuracy {clean.average:.1%} falls to {row.average:.1%}, "
        f"the worst group ({row.worst_group}) to {row.worst:.1%}",
        evidence={"clean": clean.average, "changed": row.average, "worst": row.worst},
    )
