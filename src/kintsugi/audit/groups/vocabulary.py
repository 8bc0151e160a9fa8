"""Which classes should not be in a data set of pictures: unsafe words, and concepts that no picture shows.

Yang et al., "Towards Fairer Datasets: Filtering and Balancing the Distribution of the People Subtree in the ImageNet
Hierarchy", FAT* 2020, sections 3 and 4: annotators mark each concept safe, sensitive or unsafe; of the safe ones,
raters say how easily a concept brings an image to mind, 1 to 5; raters who fail gold questions are left out, the
others are averaged, at least ``fewest`` of them, and concepts with a mean of ``keep`` or more remain. (Of 2832 synsets
of people 1593 were unsafe or sensitive and 158 of the others imageable, from memory.)

A concept's mark is the one most annotators gave; of two that are level the graver. Raters who disagree are not a low
score: where the mean's 95% interval (Student's t) holds ``keep``, the concept is left open, and more raters are asked
for. A rater passes who answers a share ``pass_share`` of the gold questions within what is allowed; one who answered
none cannot be vouched for and is left out too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.agreement import fleiss_kappa

if TYPE_CHECKING:
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="vocabulary",
    kind="auditor",
    title="classes that are unsafe as labels, or that no picture shows, from people's ratings",
    paper="Yang et al. Towards Fairer Datasets. FAT* 2020. arXiv 1912.07726",
    card=37,
    status="proven",
)
MARKS = ("safe", "sensitive", "unsafe")
LOW, HIGH = 1.0, 5.0


@dataclass(frozen=True)
class Vocabulary:
    """Audit the class names.

    Args:
        safety: (rater, concept, ``safe``, ``sensitive`` or ``unsafe``) each.
        imageability: (rater, concept, 1 to 5) each; gold questions among them.
        gold: gold questions: concept to the lowest and highest rating that is right. They need not be classes.
        pass_share: share of the gold questions that a rater must answer rightly.
        fewest: raters a concept needs.
        keep: mean imageability from which a concept is kept.
    """

    safety: Sequence[tuple[str, str, str]] | None = None
    imageability: Sequence[tuple[str, str, float]] | None = None
    gold: Mapping[str, tuple[float, float]] | None = None
    pass_share: float = 0.7
    fewest: int = 10
    keep: float = 4.0

    def __post_init__(self) -> None:
        require(0 < self.pass_share <= 1, "pass_share", self.pass_share, "a share above 0, to 1")
        require(self.fewest >= 1, "fewest", self.fewest, "1 or more")
        require(LOW < self.keep <= HIGH, "keep", self.keep, "a rating above 1, to 5")
        bad = next((mark for _, _, mark in self.safety or () if mark not in MARKS), None)
        require(bad is None, "safety", bad, "marks " + ", ".join(MARKS))
        ratings = [float(rating) for _, _, rating in self.imageability or ()]
        off = next((rating for rating in ratings if not LOW <= rating <= HIGH), None)
        require(off is None, "imageability", off, "ratings from 1 to 5")
        for name, triples in (("safety", self.safety), ("imageability", self.imageability)):
            pairs = [(rater, concept) for rater, concept, _ in triples or ()]
            if len(set(pairs)) != len(pairs):
                raise BadData(f"{name}: a rater rated one concept twice.", "Keep the later rating.")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the classes of the data; its images and outputs are not looked at."""
        params = {name: getattr(self, name) for name in ("pass_share", "fewest", "keep")}
        found = [*self._marks(data.classes), *self._images(data.classes)]
        notes = list(self._notes(data.classes))
        told = self.safety or self.imageability
        flagged = {row.ids[0] for row in found if row.flagged}
        return Findings.of(
            found, CARD.name, params, Summary(None, float(len(flagged)) if told else None, None, tuple(notes))
        )

    def _marks(self, classes: Sequence[str]) -> Iterator[Finding]:
        held: dict[str, list[int]] = {}
        for _, concept, mark in self.safety or ():
            held.setdefault(concept, []).append(MARKS.index(mark))
        for name in classes:
            if not (given := held.get(name)):
                continue
            count = np.bincount(given, minlength=len(MARKS))
            worst = int(np.flatnonzero(count == count.max())[-1])  # of two that are level the graver
            if worst:
                share = float(count[worst] / count.sum())
                why = f"{name}: {count[worst]} of {count.sum()} annotators call it {MARKS[worst]}"
                evidence = dict(zip(MARKS, count.tolist(), strict=True))
                score = (0.5 if worst == 2 else 0.0) + share / 2
                yield Finding("class", (name,), score, True, f"{MARKS[worst]}_concept", "drop", why, evidence)

    def _images(self, classes: Sequence[str]) -> Iterator[Finding]:
        from scipy.stats import t as student

        held: dict[str, list[float]] = {}
        trusted = trusted_raters(self.imageability or (), self.gold, self.pass_share)
        for rater, concept, rating in self.imageability or ():
            if rater in trusted:
                held.setdefault(concept, []).append(float(rating))
        for name in classes if self.imageability else ():
            given = np.array(held.get(name, []))
            n = len(given)
            if n < self.fewest:
                why = f"{name}: {n} trusted raters, {self.fewest} are needed"
                yield Finding("class", (name,), 0.0, False, "too_few_raters", "review", why, {"raters": n})
                continue
            mean, spread = float(given.mean()), float(given.std(ddof=1)) if n > 1 else HIGH
            half = float(student.ppf(0.975, n - 1)) * spread / n**0.5 if n > 1 else HIGH
            low, high = mean - half, mean + half
            evidence = {"mean": mean, "spread": spread, "raters": n, "low": max(LOW, low), "high": min(HIGH, high)}
            said = f"{name}: imageability {mean:.1f} by {n} raters, who differ by {spread:.1f}"
            score = float(np.clip((self.keep - mean) / (self.keep - LOW), 0, 1))
            if high < self.keep:
                yield Finding("class", (name,), score, True, "not_imageable", "drop", said, evidence)
            elif low < self.keep:
                why = f"{said}: more raters are needed to tell it from {self.keep:g}"
                yield Finding("class", (name,), score, False, "imageability_open", "review", why, evidence)

    def _notes(self, classes: Sequence[str]) -> Iterator[str]:
        if not self.safety:
            yield "Nobody marked these classes: whether they are unsafe cannot be told."
        else:
            concepts = {name: i for i, name in enumerate(dict.fromkeys(c for _, c, _ in self.safety))}
            counts = np.zeros((len(concepts), len(MARKS)))
            for _, concept, mark in self.safety:
                counts[concepts[concept], MARKS.index(mark)] += 1
            kappa = fleiss_kappa(counts)
            agreed = "cannot be told" if kappa is None else f"is {kappa:.2f} (Fleiss' kappa)"
            unmarked = sum(name not in concepts for name in classes)
            yield f"Agreement on safety {agreed}; {unmarked} classes are not marked."
        if not self.imageability:
            yield "Nobody rated these classes: whether pictures show them cannot be told."
            return
        raters = {rater for rater, _, _ in self.imageability}
        if self.gold is None:
            yield f"{len(raters)} raters were not checked by gold questions."
        else:
            kept = trusted_raters(self.imageability, self.gold, self.pass_share)
            yield f"{len(raters) - len(kept)} of {len(raters)} raters failed the gold questions and are left out."


def trusted_raters(
    ratings: Sequence[tuple[str, str, float]], gold: Mapping[str, tuple[float, float]] | None, pass_share: float
) -> set[str]:
    """Raters who answer enough gold questions rightly; all of them without gold questions.

    Args:
        ratings: (rater, concept, rating) each.
        gold: concept to the lowest and highest rating that is right; None checks nobody.
        pass_share: share of the gold questions answered that must be right.
    """
    if gold is None:
        return {rater for rater, _, _ in ratings}
    right: dict[str, list[bool]] = {}
    for rater, concept, rating in ratings:
        if concept in gold:
            low, high = gold[concept]
            right.setdefault(rater, []).append(low <= rating <= high)
    return {rater for rater, answers in right.items() if np.mean(answers) >= pass_share - 1e-12}
