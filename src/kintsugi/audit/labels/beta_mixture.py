"""How probable it is that each label is wrong, from a mixture of two beta distributions on the losses.

Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019: nets learn right labels first, so in
the middle of training losses have two humps; w, the posterior of the higher one, is the score
(:mod:`kintsugi.ops.beta_mixture`). Losses come from the log of a training (:mod:`kintsugi.training.logit_log`), as in
the paper, or else are -log p(label) of held-out outputs, which is ours: a model that has not seen a label cannot have
learned it by heart.

No count is given: the share of the higher component comes out too high (:mod:`kintsugi.ops.beta_mixture`), and where
few labels are wrong hard samples take it.

`kintsugi prove beta_mixture`: in a training w ranks wrong labels as the paper has it; on held-out losses flags are
precise but few, and F1 lies below that of "the most probable class differs" on MNIST and Fashion-MNIST, and below that
of chance where the heads learn noise that depends on the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.labels.suspects import labelled, suspect
from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.core.findings import Findings, Summary
from kintsugi.ops.beta_mixture import BetaMixture1D

if TYPE_CHECKING:
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet
    from kintsugi.training.logit_log import LogitHistory

CARD = Card(
    name="beta_mixture",
    kind="auditor",
    title="Labels that are probably wrong, by a beta mixture on losses",
    paper="Arazo et al., Unsupervised Label Noise Modeling and Loss Correction, ICML 2019, arXiv 1904.11238",
    card=78,
    code="https://github.com/PaulAlbert31/LabelNoiseCorrection",
    needs=("held-out outputs",),
    status="not proven",
)

FEWEST = 20  # losses below which two humps are told from one by chance


class BetaMixture:
    """Scores labels by w.

    Args:
        flag: w from which a label is flagged, above 0 to below 1.
        rounds: of fitting, 1 or more.
        history: losses of a training, of exactly these samples; None takes those of the outputs.
    """

    def __init__(self, flag: float = 0.5, rounds: int = 10, history: LogitHistory | None = None) -> None:
        require(0 < flag < 1, "flag", flag, "a number above 0 and below 1")
        require(rounds >= 1, "rounds", rounds, "1 or more")
        self.flag, self.rounds, self.history = flag, rounds, history

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels; samples without a label are left out.

        Raises:
            BadArgument: there are no outputs, or they come from a model that has seen the samples.
            BadData: outputs or the history do not fit the data.
        """
        given = labelled("beta_mixture", data, outputs, seen=self.history is not None)
        params = {"flag": self.flag, "rounds": self.rounds}
        label, each = given.label, np.arange(len(given.label))
        if self.history is None:
            prob, source = given.prob, "held-out outputs"
            loss = -np.log(np.maximum(prob[each, label], 1e-12))
        else:
            if self.history.ids != data.ids or not len(self.history):
                raise BadData("The history is not of these samples:", "log the data that is audited.")
            logits = self.history.logits()[given.rows].astype(np.float64)
            if logits.shape[1] != len(data.classes):
                raise BadData(f"The history has {logits.shape[1]} classes for {len(data.classes)}:", "log this data.")
            prob = np.exp(logits - logits.max(axis=1, keepdims=True))
            prob /= prob.sum(axis=1, keepdims=True)
            loss, source = -np.log(np.maximum(prob[each, label], 1e-12)), "the log of a training"
        notes = [*given.notes, f"Losses are those of {source}."]
        try:
            if len(loss) < FEWEST:
                raise BadData(f"{len(loss)} losses are too few:", f"two kinds are told apart from {FEWEST} on.")
            fitted = BetaMixture1D(self.rounds).fit(loss)
        except BadData as error:
            return Findings.of([], CARD.name, params, Summary(self.flag, None, None, (*notes, f"Cannot tell: {error}")))
        wrong = fitted.wrong(loss)
        guess = prob.argmax(axis=1)
        found = [
            suspect(
                given,
                i,
                int(guess[i]),
                float(wrong[i]),
                bool(wrong[i] >= self.flag),
                f"its loss {loss[i]:.2f} is of the higher kind with probability {wrong[i]:.2f}",
                {"loss": float(loss[i]), "w": float(wrong[i])},
            )
            for i in np.flatnonzero(guess != label).tolist()
        ]
        notes.append("It gives no count: hard samples are among the high losses, whose share comes out too high.")
        return Findings.of(found, CARD.name, params, Summary(self.flag, None, None, tuple(notes)))
