"""Counts, finds and ranks labels that are probably wrong, from what a model says of samples it has not seen.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021 (the method);
Northcutt, Athalye and Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS
2021 (its use on test sets). A sample counts towards class l when p_l reaches t_l, the mean of p_l over the samples
labelled l; of several such classes the most probable one; the counts by given and counted class are the confident
joint C (JAIR, equation 1), its diagonal at least 1. Rows are scaled to the class counts and the whole to N (equation
3). What is flagged follows section 3.2: by class (PBC), by noise rate (PBNR), both (C+NR), or the off-diagonal of C
itself; the plain baseline flags where the most probable class is not the label. ``lowest`` is what cleanlab does on
data too large for memory: as many labels as there are samples whose most probable class is confident and not the
label, the worst ranked of all. No sample is flagged whose label is its most probable class. Counts are rounded so that
each row keeps its sum. The arrays are worked on in :mod:`kintsugi.audit.labels.joint`; with ``collision="argmax"`` its
sets are cleanlab 2.9.0's, ties apart (`benchmarks/label_issues.py`).

The count is not the joint's, 1 - trace(C / N), which is too high by what the predictor itself gets wrong, but the
estimate of :mod:`kintsugi.audit.labels.noise_rate`, with an interval, from a review where there is one; where its
assumptions are not borne out there is no count. The joint's own share stands in the notes. On CIFAR-10N's human labels
(`kintsugi prove confident_learning --setting cifar10n`, weak features) F1 lies above the baseline's where 9% are wrong
and below it where 40% are; the joint's share comes out too high, though nearer the truth than the baseline's count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kintsugi.audit.labels.joint import COLLISIONS, METHODS, RANKS, find_label_issues, label_score, scan
from kintsugi.audit.labels.noise_rate import Reviewed, estimate
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of
from kintsugi.core.findings import Finding, Findings, Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="confident_learning",
    kind="auditor",
    title="Labels that are probably wrong, counted and ranked from held-out predictions",
    paper="Northcutt et al., Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks, NeurIPS 2021",
    card=27,
    code="https://github.com/cleanlab/cleanlab",
    needs=("held-out outputs",),
    status="proven",
    settings=(("cifar10n", "not proven"), ("rates", "proven")),
)


@dataclass(frozen=True)
class ConfidentLearning:
    """Finds label errors.

    Args:
        method: what is flagged: ``pbnr`` (prune by noise rate), ``pbc`` (by class), ``c+nr`` (both agree),
            ``confusion`` (off-diagonal of the confident joint), ``lowest`` (the worst ranked of all, as many as are
            confidently another class) or ``argmax`` (the baseline).
        rank: ``self_confidence`` (p of the label) or ``normalised_margin`` (p of the label less the best other's).
        collision: which of several confident classes counts: the most probable of them (``confident``, the paper's
            rule), or the most probable of all (``argmax``, cleanlab's).
        reviewed: labels that were looked at, drawn at random: 1 wrong, 0 right, NaN unsure, by id.

    A finding is a sample whose most probable class is not its label; flagged are those the method picks.
    """

    method: Literal["pbnr", "pbc", "c+nr", "confusion", "lowest", "argmax"] = "pbnr"
    rank: Literal["self_confidence", "normalised_margin"] = "self_confidence"
    collision: Literal["confident", "argmax"] = "confident"
    reviewed: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        one_of("method", self.method, METHODS)
        one_of("rank", self.rank, RANKS)
        one_of("collision", self.collision, COLLISIONS)

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels; samples without a label are left out.

        Raises:
            BadArgument: there are no outputs, or the model has seen these samples in training.
            BadData: outputs are missing for a sample, or have another number of classes.
        """
        if outputs is None:
            raise BadArgument("confident_learning needs outputs:", "give predictions of a model.")
        if outputs.held_out is False:
            raise BadArgument(
                "The outputs come from a model that was trained on these samples, which hides their wrong labels:",
                "give cross-validated or held-out predictions.",
            )
        given = outputs.take(data.ids)
        if given.prob.shape[1] != len(data.classes):
            raise BadData(
                f"prob has {given.prob.shape[1]} columns for {len(data.classes)} classes:", "map the classes first."
            )
        rows = np.flatnonzero(data.labels >= 0)
        label = data.labels[rows]
        prob = given.prob if len(rows) == len(data) else given.prob[rows]
        if prob.dtype not in (np.float32, np.float64):
            prob = prob.astype(np.float32)
        notes: list[str] = []
        count: float | None = None
        interval: tuple[float, float] | None = None
        found: list[Finding] = []
        if len(rows):
            seen = scan(label, prob, self.collision)
            flagged = find_label_issues(label, prob, self.method, rank=self.rank, seen=seen)
            score = label_score(label, prob, self.rank)
            found = [
                _finding(data, int(rows[i]), int(seen.guess[i]), prob[i], float(score[i]), bool(flagged[i]))
                for i in np.flatnonzero(seen.suspect)
            ]
            looked = None if self.reviewed is None else Reviewed.of(self.reviewed, [data.ids[row] for row in rows])
            told = estimate(label, prob, reviewed=looked, rng=rng)
            count, interval = told.count(len(label))
            share = seen.joint(label).wrong_share()
            notes = [told.note, f"The confident joint counts {100 * share:.1f}% as wrong, predictor's errors included."]
        if outputs.held_out is None:
            notes.append("Nobody said whether the model has seen these samples; if it has, wrong labels are hidden.")
        if len(rows) < len(data):
            notes.append(f"{len(data) - len(rows)} samples without a label were left out.")
        notes.append(f"Outputs: {outputs.source}. Flagged by count ({self.method}), not from one score on.")
        params = {"method": self.method, "rank": self.rank, "collision": self.collision}
        return Findings.of(found, CARD.name, params, Summary(None, count, interval, tuple(notes)))


def _finding(data: ImageSet, row: int, guess: int, prob: NDArray[np.float64], score: float, flagged: bool) -> Finding:
    label = int(data.labels[row])
    return Finding(
        subject="sample",
        ids=(data.ids[row],),
        score=score,
        flagged=flagged,
        check="label_error",
        suggestion=f"relabel:{guess}",
        why=f"labelled {data.classes[label]} ({prob[label]:.2f}), looks like {data.classes[guess]} ({prob[guess]:.2f})",
        evidence={
            "label": data.classes[label],
            "guess": data.classes[guess],
            "p_label": float(prob[label]),
            "p_guess": float(prob[guess]),
        },
    )
