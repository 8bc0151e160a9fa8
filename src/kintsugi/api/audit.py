"""``audit``: every check on the data, one table. A check that cannot be done says why, and the others are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.api.cleaning import propose
from kintsugi.api.grouping import held_out_outputs
from kintsugi.core.errors import BadArgument, BadData, MissingDependency, one_of
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.progress import track
from kintsugi.core.randomness import numpy_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.api.case import Case
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CHECKS = ("broken_files", "near_duplicates", "confident_learning", "group_gaps")


@dataclass(frozen=True)
class Audit:
    """What the checks found, one :class:`Findings` a check that could be done.

    Attributes:
        findings: of each check.
        notes: what had to be assumed, and checks that do not apply to such data.
        undone: name of each check that failed, and why.
    """

    findings: tuple[Findings, ...]
    notes: tuple[str, ...] = ()
    undone: tuple[tuple[str, str], ...] = ()

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
            "undone": [{"check": check, "why": why} for check, why in self.undone],
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
    from kintsugi.models.encoder import open_encoder

    for name in checks:
        one_of("checks", name, CHECKS)
    if isinstance(encoder, str):
        encoder = open_encoder(encoder, device=case.device)
    whole = case.data if data is None else data
    answers = _Answers(case, whole, encoder)
    found, undone = [], []
    for name in track(checks, "audit"):
        try:
            # The first check wants the images that nobody can read as well.
            data, outputs = (whole, None) if name == "broken_files" else answers.for_check(name)
            if name == "confident_learning" and outputs is None:
                continue
            found.append(_auditor(name)(data, outputs, numpy_rng(case.seed, "audit", name)))
        except (BadArgument, BadData, MissingDependency) as error:
            undone.append((name, str(error)))
    result = Audit(tuple(found), tuple(answers.notes), tuple(undone))
    if save and found:
        from kintsugi.api.account import audited

        audited(case, whole, result).save(case.run.sub("audit"))
        propose(case.run.sub("audit"), whole, result.flagged)
    return result


def _auditor(name: str) -> Any:
    from kintsugi.core.registry import find

    return find(name, "auditor").load()()


class _Answers:
    """The readable samples and held-out outputs of them, asked for once, on first need.

    Attributes:
        notes: where features and outputs come from, or why there are no outputs.
    """

    def __init__(self, case: Case, data: ImageSet, encoder: Any) -> None:
        self.case, self.data, self.encoder = case, data, encoder
        self.notes: list[str] = []
        self._outputs: Outputs | None = None
        self._failure: Exception | None = None
        self._asked = False

    def for_check(self, name: str) -> tuple[ImageSet, Outputs | None]:
        """What a check looks at. Outputs that could not be had fail the one check that lives on them."""
        if not self._asked:
            self._asked = True
            try:
                self._ask()
            except (BadArgument, BadData, MissingDependency) as error:
                self._failure = error
        if self._failure is not None and name == "confident_learning":
            raise self._failure
        return self.data, self._outputs

    def _ask(self) -> None:
        from kintsugi.models.cache import embed
        from kintsugi.models.encoder import ModelEncoder, PixelEncoder

        encoder = self.encoder
        if encoder is None:
            models = (self.case.teacher, self.case.model)
            known = next((each for each in models if callable(getattr(each, "features", None))), None)
            encoder = PixelEncoder() if known is None else ModelEncoder(known)
        features = embed(encoder, self.data, cache=self.case.run.path("cache"), device=self.case.device)
        readable = np.isfinite(features).all(axis=1)
        self.data, features = self.data.select(np.flatnonzero(readable)), features[readable]
        self.notes.append(f"Features come from {encoder.name}.")
        self._outputs = self._held_out(features)

    def _held_out(self, features: NDArray[np.float32]) -> Outputs | None:
        """The black box's own outputs where it never saw the samples, else those of cross-validated heads."""
        data = self.data
        counts = np.bincount(data.labels[data.labels >= 0], minlength=len(data.classes))
        if np.count_nonzero(counts) < 2:
            which = (
                f"every label is {data.classes[int(counts.argmax())]!r}" if counts.any() else "no sample has a label"
            )
            self.notes.append(f"Labels were not checked, since {which}: there is nothing to mistake them for.")
            return None
        made, source = held_out_outputs(self.case, data, features)
        known = np.flatnonzero(data.labels >= 0)
        share = (made.predicted == data.labels)[known].mean()
        self.notes.append(f"Label checks use {source}; they agree with {share:.0%} of {len(known)} labels.")
        return made
