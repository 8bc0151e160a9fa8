"""``stress``: accuracy by group under corruptions, attacks and planted cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.core.registry import find, of_kind
from kintsugi.data.imageset import ImageSet
from kintsugi.data.stream import none_read
from kintsugi.models.predict import as_images, batches, evaluating

if TYPE_CHECKING:
    from kintsugi.api.case import Case


@dataclass(frozen=True)
class Row:
    """Accuracy under one change.

    Attributes:
        kind: ``clean``, ``corruption``, ``attack`` or ``bias``.
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
    """The table, and what of it is a finding."""

    rows: tuple[Row, ...]
    findings: Findings

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        from dataclasses import asdict

        return {"rows": [asdict(row) for row in self.rows], "flagged": [row.why for row in self.findings.flagged]}


def stress(
    case: Case,
    *,
    methods: Sequence[str] | None = None,
    severities: Sequence[int] = (1, 3, 5),
    eps: Sequence[float] = (2 / 255, 8 / 255),
    sample: int | None = 2000,
    drop: float = 0.2,
    batch_size: int = 128,
    save: bool = True,
) -> Stress:
    """Try every corruption, attack and bias of the house on the hold-out's sibling, the selection part.

    The hold-out stays closed: it proves repairs and is not looked at before.

    Args:
        case: data and a model with weights.
        methods: names; None for all.
        severities: of corruptions, 1..5.
        eps: of attacks, l-infinity in 0..1.
        sample: most images to use; None for all.
        drop: loss of accuracy, in shares, from which a row is flagged.
        batch_size: images at a time.
        save: write ``findings.parquet`` into ``stress/`` of the case's folder.
    """
    model = case.need_model(trainable=True)
    data = case.parts.select
    data = data.where(data.labels >= 0)
    if sample is not None and len(data) > sample:
        data = data.select(np.sort(numpy_rng(case.seed, "stress").permutation(len(data))[:sample]))
    entries = (
        [find(name) for name in methods] if methods else [*of_kind("corruption"), *of_kind("attack"), *of_kind("bias")]
    )
    plan: list[tuple[Any, float]] = []
    for entry in entries:
        levels = {"corruption": severities, "attack": eps}.get(entry.card.kind, (0.0,))
        plan += [(entry, level) for level in levels]
    groups = case.groups(data)
    with task("stress", len(plan) + 1) as tracker:
        clean = _accuracy("clean", "clean", 0.0, _answers(case, model, data, None, batch_size), data, groups)
        rows = [clean]
        tracker.advance()
        for entry, level in plan:
            method = entry.load()()
            change, view = _change(entry.card.kind, method, model, level, case, entry.card.name), data
            if entry.card.kind == "bias":
                view = method(data, numpy_rng(case.seed, "stress", entry.card.name))
            answers = _answers(case, model, view, change, batch_size)
            rows.append(_accuracy(entry.card.kind, entry.card.name, level, answers, data, groups))
            tracker.advance(note=entry.card.name)
    found = [_finding(row, clean, drop) for row in rows[1:]]
    result = Stress(tuple(rows), Findings.of(found, "stress", {"drop": drop}, Summary(threshold=drop)))
    if save:
        case.run.sub("stress").save_findings(result.findings)
    return result


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


def _answers(case: Case, model: Any, data: ImageSet, change: Any, batch_size: int) -> np.ndarray[Any, Any]:
    """Predicted class of each sample, -1 where the image is broken."""
    answers = np.full(len(data), -1, dtype=np.int64)
    with evaluating(model, case.device) as place:
        for step, (rows, pixels) in enumerate(batches(data, model.preprocess, batch_size)):
            label = torch.from_numpy(data.labels[rows]).to(place)
            batch = Batch(as_images(pixels, place), label, torch.from_numpy(rows))
            image = batch.image if change is None else change(batch, step)
            with torch.no_grad():
                answers[rows] = model(image).argmax(1).cpu().numpy()
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


def _finding(row: Row, clean: Row, drop: float) -> Finding:
    fall = clean.average - row.average
    level = {"corruption": f" at severity {row.level:g}", "attack": f" at eps {row.level:.3g}"}.get(row.kind, "")
    return Finding(
        subject="dataset",
        ids=(f"{row.name}{level}",),
        score=float(np.clip(fall, 0, 1)),
        flagged=fall >= drop,
        check=row.kind,
        suggestion="augment" if row.kind == "corruption" else "review",
        why=f"{row.name}{level}: accuracy {clean.average:.1%} falls to {row.average:.1%}, "
        f"the worst group ({row.worst_group}) to {row.worst:.1%}",
        evidence={"clean": clean.average, "changed": row.average, "worst": row.worst},
    )
