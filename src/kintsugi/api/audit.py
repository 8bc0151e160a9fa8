"""``audit``: every check on the data, one table. A check that cannot be done says why, and the others are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kintsugi.api import review_sheet
from kintsugi.api.answers import Answers
from kintsugi.api.cleaning import propose
from kintsugi.core.errors import BadArgument, BadData, MissingDependency
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.registry import find
from kintsugi.core.side_by_side import Job, side_by_side
from kintsugi.ops.shared_neighbours import sharing_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.api.case import Case
    from kintsugi.data.imageset import ImageSet

T = TypeVar("T")

# In this order: copies hide each other's wrong labels, and what does not belong has no right label.
CHECKS = (
    "broken_files",
    "image_quality",
    "near_duplicates",
    "conflict_duplicates",
    "off_topic",
    "label_errors",
    "class_overlap",
    "z_statistics",
    "group_gaps",
)
# These wait for pixels that were decoded and headers that were read already; the last finds hashes as well.
AFTER = {
    "image_quality": ("broken_files",),
    "z_statistics": ("broken_files",),
    "near_duplicates": ("broken_files",),
    "conflict_duplicates": ("broken_files", "near_duplicates"),
}
FIRST = ("broken_files", "near_duplicates")  # begun as soon as they can be: they take longest, and others wait for them
WHOLE = ("broken_files", "image_quality")  # these want the images that nobody can read as well
COUNTED = ("label_errors", "confident_learning")  # these say how many labels are wrong, and take a review
ANSWERED = ("label_errors", "class_overlap", "confident_learning", "aum", "cincer", "simifeat", "beta_mixture")


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
    case: Case,
    *,
    data: ImageSet | None = None,
    checks: Sequence[str] = CHECKS,
    encoder: Any = None,
    against: ImageSet | None = None,
    reviewed: str | Path | None = None,
    save: bool = True,
) -> Audit:
    """Run the checks, two at a time where there are cores for it; findings stand in the order of the checks.

    Label checks need outputs of a model that has not seen the samples. A predictions file said to be held out is
    taken at its word; otherwise heads are cross-validated on frozen features, copies of one picture in one fold, and
    the notes say so.

    Args:
        case: data and model.
        data: what to audit; None for all of the case's data. Repairs audit the training part alone.
        checks: names of auditors; those of :data:`CHECKS` run in its order.
        encoder: whose features serve the checks; None takes the teacher's (it is the more robust, and did not learn
            from these labels), else that of a self-supervised encoder trained on these images, where there are enough.
            What does not belong is looked for by sharpness, colour and middle layers as well, the latter of the teacher
            or the model where they have any.
        against: older data, with which these are compared.
        reviewed: a sheet that an earlier audit wrote and a person filled in (:mod:`kintsugi.api.review_sheet`).
        save: write ``findings.parquet``, ``proposed.jsonl`` and ``report.html`` into ``audit/`` of the case's folder,
            and, where no check can tell how many labels are wrong, ``review.csv``.

    Raises:
        BadArgument: ``checks`` names no auditor.
        BadData: ``reviewed`` is no sheet of this data.
    """
    from kintsugi.models.encoder import open_encoder

    for name in checks:
        find(name, "auditor")
    if isinstance(encoder, str):
        encoder = open_encoder(encoder, device=case.device)
    data = case.data if data is None else data
    said = None if reviewed is None else review_sheet.read(reviewed, data)
    whole = data.remembering()  # most checks look at the pixels, which are decoded once where memory allows
    answers = Answers(case, whole, encoder)
    order = [*sorted(checks, key=lambda name: CHECKS.index(name) if name in CHECKS else len(CHECKS))]
    order += ["against"] if against is not None else []

    def done(name: str) -> Findings | tuple[str, str] | None:
        try:
            looked, outputs = (whole, None) if name in WHOLE else answers.given(labels=name in ANSWERED)
            if name in ANSWERED and outputs is None:
                return None
            auditor = find(name, "auditor").load()
            options: dict[str, Any] = {"reviewed": said} if name in COUNTED else {}
            if name == "off_topic":
                outputs, options["parts"] = answers.looks()
            made = auditor(against, encoder=answers.encoder) if name == "against" else auditor(**options)
            found: Findings = made(looked, outputs, numpy_rng(case.seed, "audit", name))
        except (BadArgument, BadData, MissingDependency) as error:
            return name, str(error)
        if name == "near_duplicates":
            answers.copies = _pairs(found, looked.ids)
        return found

    answers.prepare(features=bool({*order} - {*WHOLE}), looks="off_topic" in order)
    made = in_turn(order, done, learning=not answers.given_held_out)
    found = [each for each in made if isinstance(each, Findings)]
    undone = [each for each in made if isinstance(each, tuple)]
    result = Audit(tuple(found), tuple(answers.notes), tuple(undone))
    if save and found:
        from kintsugi.api.account import audited

        audited(case, data, result).save(case.run.sub("audit"))
        propose(case.run.sub("audit"), data, result.flagged)
        if any(each.card in COUNTED and each.summary.count is None for each in found):
            review_sheet.draw(case.run.sub("audit"), data, numpy_rng(case.seed, "audit", review_sheet.SHEET))
    return result


def in_turn(checks: Sequence[str], work: Callable[[str], T], *, learning: bool) -> list[T]:
    """Do what ``work`` does with each check, two at a time, and give what it gave in the order of the checks.

    Args:
        checks: names.
        work: of one check.
        learning: heads are trained for the label checks, which must not learn from copies.
    """
    after = {name: ("near_duplicates",) if learning and name in ANSWERED else AFTER.get(name, ()) for name in checks}
    begun = sorted(checks, key=lambda name: (name not in FIRST, name != FIRST[0]))
    jobs = [Job(name, partial(work, name), after[name], urgent=name in FIRST) for name in begun]
    with sharing_neighbours():
        made = side_by_side(jobs, "audit")
    return [made[begun.index(name)] for name in checks]


def _pairs(findings: Findings, ids: Sequence[str]) -> NDArray[np.int64]:
    """Flagged pairs of copies as rows, int64 ``[P, 2]``."""
    place = {name: row for row, name in enumerate(ids)}
    rows = [[place[name] for name in row.ids] for row in findings.flagged]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)
