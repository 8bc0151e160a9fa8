"""Area under the margin: labels that a head learns against the grain, with a threshold from labels known to be wrong.

Pleiss, Zhang, Elenberg and Weinberger, "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS
2020. After every epoch the margin of a sample is z_y - max_{k != y} z_k; its AUM is the mean over epochs (equation 1).
To know where wrong labels lie, N / (K + 1) samples get a class of their own, K + 1, which nothing in the image tells;
the 99th percentile of their AUM is the threshold, and samples below it are flagged (section 3.2). A second pass with
other threshold samples judges those of the first.

The code of AQuA (Goswami et al., NeurIPS 2023) takes the first percentile in place of the 99th and flags nearly
nothing; it also draws threshold samples with replacement. Here the two sets are disjoint.

Deviations: a head on the outputs' features is trained (its logits are taken after each epoch in evaluation mode, not
while they are learned); a sample that both passes judge is judged by the mean of its AUM less the threshold. The score
is a logistic function of that, 1/2 at the threshold.

A head that can learn its labels by heart learns the threshold samples too, their AUM rises to that of right labels, and
nearly everything is flagged. On 1000 photographs with 512 features and a quarter of the labels wrong a head with a
hidden layer of 64 and no penalty flagged 91% (F1 0.40), a linear head with the default decay 43% (F1 0.60); on
digits F1 rose from 0.52 to 0.83. These are means over the eight cells of AQuA's grid, on draws of their own: MNIST's,
Fashion-MNIST's and CIFAR-10's test parts and scikit-learn's digits.

`kintsugi prove aum`: its flags beat "the head's class is another" on all three data sets, and :meth:`AUM.judge` ranks
wrong labels better than the losses of the same training. Findings are of the flagged samples alone: their scores, with
all others tied below, rank better than the losses on MNIST only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.labels.suspects import labelled, suspect
from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Findings, Summary
from kintsugi.training.logit_log import head_epochs, margins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="aum",
    kind="auditor",
    title="Labels learned against the grain, by the area under the margin",
    paper="Pleiss et al., Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS 2020",
    card=12,
    code="https://github.com/asappresearch/aum",
    needs=("features",),
    status="proven",
)

FEWEST = 10  # threshold samples below which a 99th percentile is the maximum of hardly any


@dataclass(frozen=True)
class AUM:
    """Finds labels by the area under the margin.

    Args:
        epochs: of the head, 1 or more.
        lr: of the head, above 0.
        hidden: width of the head's hidden layer; 0 for a linear head. With one, take a tenth of the decay or less.
        decay: L2 penalty on the head, 0 or more, times ``lr`` below 1.
        percentile: of the threshold samples' AUM, above 0 to 100.
    """

    epochs: int = 20
    lr: float = 0.02
    hidden: int = 0
    decay: float = 1.0
    percentile: float = 99.0

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(self.hidden >= 0, "hidden", self.hidden, "0 or more")
        require(0 <= self.decay * self.lr < 1, "decay", self.decay, "0 or more, and times lr below 1")
        require(0 < self.percentile <= 100, "percentile", self.percentile, "a number above 0, to 100")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels; samples without a label are left out.

        Raises:
            BadArgument: there are no outputs.
            BadData: the outputs do not fit the data.
        """
        given = labelled("aum", data, outputs, seen=True)
        label, classes = given.label, len(data.classes)
        count, notes = len(label) // (classes + 1), [*given.notes]
        if given.features is None or count < FEWEST:
            why = "there are no features" if given.features is None else f"{count} threshold samples are too few"
            return Findings.of([], CARD.name, vars(self), Summary(None, None, None, (*notes, f"Cannot tell: {why}.")))
        above, guess = self.judge(given.features, label, classes, rng)
        score = 1 / (1 + np.exp(np.clip(above / max(float(above.std()), 1e-9), -50, 50)))
        found = [
            suspect(
                given,
                i,
                int(guess[i]),
                float(score[i]),
                bool(above[i] < 0),
                f"its margin lies {abs(above[i]):.2f} {'below' if above[i] < 0 else 'above'} that of labels that are "
                f"wrong by design; the head's class is {data.classes[guess[i]]}",
                {"margin above the threshold": float(above[i])},
            )
            for i in np.flatnonzero((above < 0) & (guess != label)).tolist()
        ]
        notes += [f"A head on the features of {count} threshold samples, twice.", "It gives no count of wrong labels."]
        return Findings.of(found, CARD.name, vars(self), Summary(0.5, None, None, tuple(notes)))

    def judge(
        self, features: NDArray[np.float32], label: NDArray[np.int64], classes: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """AUM less the threshold, float ``[N]`` (below 0 is flagged), and the head's most probable other class."""
        count = len(label) // (classes + 1)
        order = rng.permutation(len(label))
        above, times = np.zeros(len(label)), np.zeros(len(label))
        logits = np.zeros((len(label), classes), dtype=np.float32)
        how: dict[str, Any] = {"epochs": self.epochs, "lr": self.lr, "hidden": self.hidden, "decay": self.decay}
        for chosen in (order[:count], order[count : 2 * count]):
            marked = label.copy()
            marked[chosen] = classes
            area = np.zeros(len(label))
            for made in head_epochs(features, marked, classes + 1, **how, rng=rng):
                area += margins(made, marked) / self.epochs
                logits += made[:, :classes]
            judged = np.ones(len(label), dtype=bool)
            judged[chosen] = False
            above[judged] += area[judged] - np.percentile(area[chosen], self.percentile)
            times += judged
        logits[np.arange(len(label)), label] = -np.inf
        return above / times, np.asarray(logits.argmax(axis=1), dtype=np.int64)
