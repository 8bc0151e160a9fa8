"""The inspector of CINCER: a label is suspicious when a model gives another class far more.

Teso, Bontempelli, Giunchiglia and Passerini, "Interactive Label Cleaning with Example-based Explanations", NeurIPS
2021, section 3: the margin of a sample is max_k p_k - p_y, and one with a margin above 0.25 whose most probable class
is another is shown to a person. The counter-examples it shows beside (by Fisher kernels) are not here: what is
returned is what a person is to look at, and who decides is the review page.

In AQuA (Goswami et al., NeurIPS 2023) two models each judge the half they were not trained on; its code draws the
halves with replacement, so that some samples are never judged and others by their own model. Here held-out outputs
are taken as they are, and where the model has seen the samples two heads on its features judge a true half each.

What a margin of 0.25 means depends on how sure a model is of itself: `kintsugi prove cincer` finds it above "the most
probable class differs" on MNIST, level on Fashion-MNIST and, with heads that are penalised strongly, below on CIFAR-10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.labels.suspects import labelled, suspect
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.findings import Findings, Summary
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="cincer",
    kind="auditor",
    title="Labels far less probable than another class, by two halves that judge each other",
    paper="Teso et al., Interactive Label Cleaning with Example-based Explanations, NeurIPS 2021, arXiv 2106.03922",
    card=12,
    code="https://github.com/abonte/cincer",
    status="not proven",
)


@dataclass(frozen=True)
class Cincer:
    """Finds suspicious labels.

    Args:
        margin: by how much another class must be more probable, from 0 to below 1.
    """

    margin: float = 0.25

    def __post_init__(self) -> None:
        require(0 <= self.margin < 1, "margin", self.margin, "a number from 0 to below 1")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels; samples without a label are left out.

        Raises:
            BadArgument: there are no outputs, or they come from a model that has seen the samples and have no features.
            BadData: the outputs do not fit the data.
        """
        given = labelled("cincer", data, outputs, seen=True)
        assert outputs is not None
        label, prob, notes = given.label, given.prob, list(given.notes)
        if outputs.held_out is False:
            if given.features is None:
                raise BadArgument("The model has seen these samples, and there are no features:", "give either.")
            names = [data.ids[row] for row in given.rows]
            try:
                made = cross_val_outputs(given.features, label, names, len(data.classes), folds=2, rng=rng)
            except BadData as error:
                notes.append(f"Cannot tell: {error}")
                return Findings.of([], CARD.name, vars(self), Summary(None, None, None, tuple(notes)))
            prob = made.prob.astype(np.float64)
            notes.append("The model has seen these samples: two heads on its features judged a half each.")
        elif outputs.held_out is None:
            notes.append("Nobody said whether the model has seen these samples; if it has, wrong labels are hidden.")
        guess = prob.argmax(axis=1) if len(label) else label
        each = np.arange(len(label))
        margin = prob[each, guess] - prob[each, label]
        found = [
            suspect(
                given,
                i,
                int(guess[i]),
                float(margin[i]),
                bool(margin[i] > self.margin),
                f"but {data.classes[guess[i]]} is more probable by {margin[i]:.2f}",
                {"margin": float(margin[i])},
            )
            for i in np.flatnonzero(margin > 0).tolist()
        ]
        notes.append("How many labels are wrong it cannot tell.")
        return Findings.of(found, CARD.name, vars(self), Summary(self.margin, None, None, tuple(notes)))
