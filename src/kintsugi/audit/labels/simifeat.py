"""Labels that their nearest neighbours contradict; nothing is trained.

Zhu, Dong and Liu, "Detecting Corrupted Labels Without Training a Model to Predict", ICML 2022 (SimiFeat), with k = 10
cosine neighbours in feature space, the sample itself left out:

- V (voting): flagged where most neighbours have another label; where the label is among the most common it stands.
- R (ranking): P(true = y | given = y) = T[y, y] p_y / P(given = y) with the transition matrix T and prior p that HOC
  estimates (:mod:`kintsugi.ops.hoc`); of each class as many are flagged as that says are wrong, those first whose label
  has the least support, -log of the label's weighted share among the neighbours.
- both: those that both flag. How AQuA (Goswami et al., NeurIPS 2023) joins them could not be verified; its code for R
  adds a uniform number from -0.05 to 0.05 to each class's rate, which is left out here: no answer depends on chance.

The authors repeat on augmented images and vote; here features are taken once, as the outputs give them. Features should
not come from these labels: AQuA takes them from a model that was trained on the other half. Copies at no distance do
not vote for each other. With over 200 classes HOC's equations are too many: then V alone flags, and nothing is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kintsugi.audit.labels.suspects import Given, labelled, suspect
from kintsugi.core.card import Card
from kintsugi.core.errors import one_of, require
from kintsugi.core.findings import Findings, Summary
from kintsugi.ops.hoc import MOST, agreement, transition
from kintsugi.ops.shared_neighbours import nearest_among

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="simifeat",
    kind="auditor",
    title="Labels that their nearest neighbours contradict, with a transition matrix estimated from them",
    paper="Zhu et al., Detecting Corrupted Labels Without Training a Model to Predict, ICML 2022, arXiv 2110.06283",
    card=12,
    code="https://github.com/UCSC-REAL/SimiFeat",
    needs=("features",),
    status="proven",
)

RULES = ("v", "r", "both")
SAME = 1e-6  # cosine distance below which neighbours are copies
_BLOCK = 4_000_000  # votes counted together


@dataclass(frozen=True)
class SimiFeat:
    """Finds labels that neighbours contradict.

    Args:
        rule: ``v``, ``r`` or ``both``.
        neighbours: k, 2 or more.
    """

    rule: Literal["v", "r", "both"] = "both"
    neighbours: int = 10

    def __post_init__(self) -> None:
        one_of("rule", self.rule, RULES)
        require(self.neighbours >= 2, "neighbours", self.neighbours, "2 or more")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels; samples without a label are left out.

        Raises:
            BadArgument: there are no outputs.
            BadData: the outputs do not fit the data.
        """
        given = labelled("simifeat", data, outputs, seen=True)
        label, notes = given.label, list(given.notes)
        if given.features is None or len(label) <= self.neighbours or len(np.unique(label)) < 2:
            why = "there are no features" if given.features is None else "too few samples or classes"
            return Findings.of([], CARD.name, vars(self), Summary(None, None, None, (*notes, f"Cannot tell: {why}.")))
        near, voice = _neighbours(given.features, self.neighbours)
        support = np.empty(len(label))
        guess, most = np.empty(len(label), dtype=np.int64), np.empty(len(label), dtype=bool)
        step = max(1, _BLOCK // len(data.classes))
        for top in range(0, len(label), step):
            part = slice(top, top + step)
            support[part], guess[part], most[part] = _votes(label, label[part], near[part], voice[part], given)
        clean = _clean(label, near, len(data.classes)) if len(data.classes) <= MOST else None
        flagged, count = ~most, None
        if clean is None:
            notes.append(f"Over {MOST} classes: the vote alone decides, and how many are wrong it cannot tell.")
        else:
            size = np.bincount(label, minlength=len(data.classes))
            count = float(((1 - clean) * size).sum())
            ranked = _least(label, support, np.rint((1 - clean) * size).astype(np.int64))
            flagged = {"v": ~most, "r": ranked, "both": ranked & ~most}[self.rule]
            notes.append("The count assumes that a sample and its two nearest neighbours are of one true class.")
        found = [
            suspect(
                given,
                i,
                int(guess[i]),
                float(1 - support[i]),
                bool(flagged[i]),
                f"the label of {support[i]:.0%} of its neighbours by weight; most common is {data.classes[guess[i]]}",
                {"support": float(support[i])},
            )
            for i in np.flatnonzero((flagged | ~most) & (guess != label)).tolist()
        ]
        return Findings.of(found, CARD.name, vars(self), Summary(None, count, None, tuple(notes)))


def _neighbours(features: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ``k`` nearest that are no copies, and their weight; copies fill up with weight 0."""
    distance, near = nearest_among(features, 2 * k)
    copy = distance <= SAME
    order = np.argsort(copy, axis=1, kind="stable")[:, :k]
    voice = np.where(copy, 0.0, np.clip(1.0 - distance, 1e-6, 1.0))
    return np.take_along_axis(near, order, 1), np.take_along_axis(voice, order, 1)


def _votes(
    label: NDArray[np.int64], own: NDArray[np.int64], near: NDArray[np.int64], voice: NDArray[np.float64], given: Given
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Of some samples: the weighted share of their label, the most common other or own class, and whether theirs is."""
    each = np.arange(len(own))[:, None]
    count, weight = (np.zeros((len(own), given.prob.shape[1])) for _ in range(2))
    np.add.at(count, (each, label[near]), voice > 0)
    np.add.at(weight, (each, label[near]), voice)
    mine, top = count[each[:, 0], own], count.max(axis=1)
    share = weight[each[:, 0], own] / np.maximum(weight.sum(axis=1), 1e-12)
    heard = voice.sum(axis=1) > 0  # nobody but copies: nothing speaks against the label
    winner = np.where(mine == top, own, np.lexsort((-weight, -count), axis=1)[:, 0])
    return np.where(heard, share, 1.0), np.where(heard, winner, own), (mine == top) | ~heard


def _clean(label: NDArray[np.int64], near: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """P(true = y | given = y) of each class, ``[K]``; 1 for a class that nobody has."""
    one, two, three = agreement(label, label[near[:, 0]], label[near[:, 1]], classes)
    table, prior = transition(one, two, three)
    right = table.diagonal() * prior
    return np.where(one > 0, np.clip(right / np.where(one > 0, one, 1), 0, 1), 1.0)


def _least(label: NDArray[np.int64], support: NDArray[np.float64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The ``wanted [K]`` samples of each class with the least support; of equals the first."""
    order = np.lexsort((support, label))
    start = np.searchsorted(label[order], np.arange(len(wanted)))
    flagged = np.zeros(len(label), dtype=bool)
    flagged[order] = np.arange(len(label)) - start[label[order]] < wanted[label[order]]
    return flagged
