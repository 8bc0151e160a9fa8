"""Pairs of classes that look like one to a model that has not seen the samples: doubled classes, unclear borders.

For classes a and b, samples of either are ranked by log p_b - log p_a. With A the probability that a sample of b ranks
above one of a (ties count one half; Mann and Whitney, 1947), the overlap is

    o = 2 (1 - A),   from 0 (told apart without fail) to 1 (a coin does as well).

Ranks are used, and not who is predicted, since a class that is merely rarer is predicted less often and looks like no
other for it. The interval of A is DeLong's (DeLong, DeLong and Clarke-Pearson, 1988): each sample's share of the other
class that it ranks above has a variance, those of both classes add up. It is widened for the number of pairs that were
looked at (Bonferroni), since these are picked by what is confused most. A pair is flagged if its interval reaches up to
``alike``, so that a coin does about as well, and does not go below ``overlap``, so that this is known; classes that are
hard to tell apart, and are told apart, are listed without. The confusions of both directions are given beside what
chance, one of the other classes at random, would make of the errors.

Pairs come from the predictions: b is looked at with a if some sample of a has b among its ``rivals`` most probable
other classes and at least a ``share`` of a's samples do. Their number is bounded by that of the samples, so 10,000
classes are no trouble and no class is compared with all others.

The question and the measure are ours. A weak model makes classes overlap that a person tells apart: on handwritten
digits no pair is wrongly flagged by heads that are 81% right or better (`kintsugi prove class_overlap`), by heads that
are 69% right some always are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

CARD = Card(
    name="class_overlap",
    kind="auditor",
    title="Pairs of classes that look like one",
    paper="interval by DeLong et al., Comparing the Areas under Two or More Correlated ROC Curves, Biometrics 1988",
    card=0,
    needs=("held-out outputs",),
    status="proven",
)

FEWEST = 10  # samples of each class below which nothing can be said
CELLS = 1_000_000  # probabilities looked at at a time
TINY = 1e-12


@dataclass(frozen=True)
class ClassOverlap:
    """Finds overlapping classes.

    Args:
        overlap: below which the interval of a flagged pair must not go.
        alike: up to which it must reach.
        rivals: most probable other classes of each sample that are looked at.
        share: of a class's samples that must have the other among their rivals.
        level: chance of any false flag, over all pairs.
    """

    overlap: float = 0.5
    alike: float = 0.9
    rivals: int = 3
    share: float = 0.1
    level: float = 0.05

    def __post_init__(self) -> None:
        require(0 < self.overlap < 1, "overlap", self.overlap, "a share between 0 and 1")
        require(self.overlap <= self.alike <= 1, "alike", self.alike, f"a share from {self.overlap:g} (overlap) to 1")
        require(self.rivals >= 1, "rivals", self.rivals, "1 or more")
        require(0 < self.share <= 1, "share", self.share, "a share above 0, to 1")
        require(0 < self.level < 1, "level", self.level, "a number between 0 and 1")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the classes; pairs that were looked at are listed with their overlap.

        Raises:
            BadArgument: there are no outputs, or the model has seen these samples in training.
            BadData: outputs are missing for a sample, or have another number of classes.
        """
        if outputs is None:
            raise BadArgument("class_overlap needs outputs:", "give predictions of a model.")
        if outputs.held_out is False:
            raise BadArgument(
                "The outputs come from a model that was trained on these samples, which hides what it confuses:",
                "give cross-validated or held-out predictions.",
            )
        given = outputs.take(data.ids)
        if given.prob.shape[1] != len(data.classes):
            raise BadData(
                f"prob has {given.prob.shape[1]} columns for {len(data.classes)} classes:", "map the classes first."
            )
        rows = np.flatnonzero(data.labels >= 0)
        label, prob = data.labels[rows], given.prob[rows]
        size = np.bincount(label, minlength=len(data.classes))
        notes = [f"Outputs: {outputs.source}."]
        if outputs.held_out is None:
            notes.append("Nobody said whether the model has seen these samples; if it has, overlaps are hidden.")
        small = (size > 0) & (size < FEWEST)
        if small.any():
            names = ", ".join(data.classes[k] for k in np.flatnonzero(small)[:3].tolist())
            notes.append(f"Cannot tell of {small.sum()} classes with fewer than {FEWEST} samples: {names}...")
        if (size >= FEWEST).sum() < 2:
            notes.append(f"Cannot tell whether classes overlap: fewer than two have {FEWEST} samples.")
            return self._findings([], None, notes)
        predicted = prob.argmax(axis=1)
        pairs = self._pairs(label, prob, size)
        notes.append(f"{len(pairs)} pairs of classes were looked at, which one class's samples take for the other.")
        order = np.argsort(label, kind="stable")
        start = np.concatenate([[0], np.cumsum(size)])
        wrong = np.bincount(label[predicted != label], minlength=len(size))
        others = max(1, int((size > 0).sum()) - 1)
        found = []
        with task("compare classes", len(pairs)) as tracker:
            for pair in pairs.tolist():
                members = [order[start[k] : start[k + 1]] for k in pair]
                confused = [
                    float((predicted[rows_of] == other).mean())
                    for rows_of, other in zip(members, reversed(pair), strict=True)
                ]
                chance = [float(wrong[k] / size[k] / others) for k in pair]
                lean = [_lean(prob[rows_of], *pair) for rows_of in members]
                found.append(self._finding(pair, lean, confused, chance, data.classes, len(pairs)))
                tracker.advance()
        return self._findings(found, float(sum(row.flagged for row in found)), notes)

    def _findings(self, found: list[Finding], count: float | None, notes: list[str]) -> Findings:
        return Findings.of(found, CARD.name, vars(self), Summary(self.overlap, count, None, tuple(notes)))

    def _pairs(self, label: Ints, prob: NDArray[Any], size: Ints) -> Ints:
        """Pairs (a < b) of which enough samples of one have the other among their rivals, int64 ``[P, 2]``."""
        kinds, wanted = prob.shape[1], min(self.rivals, prob.shape[1] - 1)
        seen = []
        step = max(1, CELLS // kinds)
        for top in range(0, len(label), step):
            part, own = prob[top : top + step].copy(), label[top : top + step]
            part[np.arange(len(own)), own] = -1.0
            best = np.argpartition(-part, wanted - 1, axis=1)[:, :wanted]
            # A class of no probability at all is nobody's rival.
            row, place = np.nonzero(np.take_along_axis(part, best, 1) > 0)
            seen.append(own[row] * kinds + best[row, place])
        cell, count = np.unique(np.concatenate(seen), return_counts=True)
        a, b = np.divmod(cell, kinds)
        kept = (count >= self.share * size[a]) & (size[a] >= FEWEST) & (size[b] >= FEWEST)
        return np.unique(np.sort(np.stack([a[kept], b[kept]], axis=1), axis=1), axis=0)

    def _finding(
        self,
        pair: list[int],
        lean: list[Floats],
        confused: list[float],
        chance: list[float],
        classes: tuple[str, ...],
        pairs: int,
    ) -> Finding:
        from scipy.special import ndtri

        area, error = auc(lean[0], lean[1])
        z = float(ndtri(1 - self.level / (2 * max(1, pairs))))
        low, high = (float(np.clip(2 * (1 - area + side * z * error), 0, 1)) for side in (-1, 1))
        score = float(np.clip(2 * (1 - area), 0, 1))
        one, other = (classes[k] for k in pair)
        coin = "; a coin may do as well" if high >= self.alike else ""
        why = (
            f"{one} and {other} overlap by {score:.0%} ({low:.0%} to {high:.0%}){coin}: {confused[0]:.0%} of {one} are "
            f"taken for {other} and {confused[1]:.0%} the other way (by chance {chance[0]:.1%} and {chance[1]:.1%})"
        )
        evidence = {"interval": [low, high], "confused": confused, "chance": chance}
        flagged = low >= self.overlap and high >= self.alike
        return Finding("class", (one, other), score, flagged, "class_overlap", "merge", why, evidence)


def auc(first: Floats, second: Floats) -> tuple[float, float]:
    """Probability that a value of ``second`` exceeds one of ``first``, ties one half, and its standard error (DeLong).

    Args:
        first: float ``[M]``, M of 2 or more.
        second: float ``[N]``, N of 2 or more.
    """
    below = np.sort(first)
    above = np.sort(second)
    # Of each value: the share of the other class that lies on the right side of it.
    one = (np.searchsorted(below, second, "left") + np.searchsorted(below, second, "right")) / (2 * len(first))
    two = 1 - (np.searchsorted(above, first, "left") + np.searchsorted(above, first, "right")) / (2 * len(second))
    return float(one.mean()), float(np.sqrt(one.var(ddof=1) / len(second) + two.var(ddof=1) / len(first)))


def _lean(prob: NDArray[Any], a: int, b: int) -> Floats:
    """How much each sample leans to b rather than a."""
    p = np.maximum(prob[:, [a, b]].astype(np.float64), TINY)
    return np.asarray(np.log(p[:, 1]) - np.log(p[:, 0]))
