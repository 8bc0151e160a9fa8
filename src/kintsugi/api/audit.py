"""``audit``: every check on the data, one pass, one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.api.grouping import held_out_outputs
from kintsugi.core.errors import one_of
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.progress import track
from kintsugi.core.randomness import numpy_rng

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CHECKS = ("broken_files", "near_duplicates", "confident_learning", "group_gaps")


@dataclass(frozen=True)
class Audit:
    """What the checks found, one :class:`Findings` a check."""

    findings: tuple[Findings, ...]
    notes: tuple[str, ...] = ()

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """Every flagged finding, worst first."""
        return tuple(sorted((row for each in self.findings for row in each.flagged), key=lambda row: -row.score))

    def of(self, card: str) -> Findings:
        """The findings of one check."""
        return next(each for each in self.findings if each.card == card)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: counts and the flagged findings."""
        return {
            "notes": list(self.notes),
            "checks": [
                {
                    "check": each.card,
                    "findings": len(each),
                    "flagged": len(each.flagged),
                    "estimated": each.summary.count,
                    "interval": each.summary.interval,
                    "notes": list(each.summary.notes),
                }
                for each in self.findings
            ],
            "flagged": [
                {
                    "check": row.check,
                    "ids": list(row.ids),
                    "score": row.score,
                    "suggestion": row.suggestion,
                    "why": row.why,
                }
                for row in self.flagged
            ],
        }


def audit(
    case: Case, *, data: ImageSet | None = None, checks: Sequence[str] = CHECKS, encoder: Any = None, save: bool = True
) -> Audit:
    """Run the checks.

    Label checks need outputs of a model that has not seen the samples. A predictions file said to be held out is
    taken at its word; otherwise heads are cross-validated on frozen features, and the notes say so.

    Args:
        case: data and model.
        data: what to audit; None for all of the case's data. Repairs audit the training part alone.
        checks: names of auditors.
        encoder: whose features serve cross-validation; None takes the teacher's (it is the more robust, and did not
            learn from these labels), else the model's, else pixels.
        save: write ``findings.parquet`` and ``report.html`` into ``audit/`` of the case's folder.
    """
    from kintsugi.models.cache import embed
    from kintsugi.models.encoder import ModelEncoder, PixelEncoder, open_encoder

    for name in checks:
        one_of("checks", name, CHECKS)
    if isinstance(encoder, str):
        encoder = open_encoder(encoder, device=case.device)
    elif encoder is None:
        known = next((each for each in (case.teacher, case.model) if callable(getattr(each, "features", None))), None)
        encoder = PixelEncoder() if known is None else ModelEncoder(known)
    whole = case.data if data is None else data
    data, notes = whole, []
    outputs: Outputs | None = None
    found = []
    for name in track(checks, "audit"):
        if name == "broken_files":  # the one check that wants the images nobody can read
            found.append(_auditor(name)(whole, None, numpy_rng(case.seed, "audit", name)))
            continue
        if outputs is None:
            features = embed(encoder, data, cache=case.run.path("cache"), device=case.device)
            readable = np.isfinite(features).all(axis=1)
            data, features = data.select(np.flatnonzero(readable)), features[readable]
            notes.append(f"Features come from {encoder.name}.")
            outputs, source = held_out_outputs(case, data, features)
            known = np.flatnonzero(data.labels >= 0)
            share = (outputs.predicted == data.labels)[known].mean() if len(known) else 0.0
            notes.append(f"Label checks use {source}; they agree with {share:.0%} of {len(known)} labels.")
        found.append(_auditor(name)(data, outputs, numpy_rng(case.seed, "audit", name)))
    result = Audit(tuple(found), tuple(notes))
    if save:
        from kintsugi.api.account import audited

        audited(case, whole, result).save(case.run.sub("audit"))
    return result


def _auditor(name: str) -> Any:
    from kintsugi.core.registry import find

    return find(name, "auditor").load()()
