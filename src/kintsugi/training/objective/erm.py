"""Empirical risk minimisation: make the mean cross-entropy to the labels small. The baseline of every repair.

Vapnik, "Principles of Risk Minimization for Learning Theory", 1991. With label smoothing s (Szegedy et al. 2016,
section 7) the label y of K classes becomes (1 - s) onehot(y) + s / K.
A batch with soft labels (``target``, from the data or from an augmentation that mixes images) is trained on those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.training.grouping import known_labels
from kintsugi.training.objective.base import Loss, Objective, cross_entropy, weighted_mean

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="erm",
    kind="objective",
    title="mean cross-entropy to the labels",
    paper="Vapnik, Principles of Risk Minimization for Learning Theory, NeurIPS 1991",
    card=0,
    status="baseline",
)


class ERM(Objective):
    """Mean cross-entropy, weighted by ``batch.weight`` where given.

    Args:
        smoothing: share of the label spread evenly over all classes, 0 to below 1.

    Raises:
        BadArgument: ``smoothing`` is outside its range.
        BadData: at setup, a sample has no label.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        require(0.0 <= smoothing < 1.0, "smoothing", smoothing, "a number from 0 to below 1")
        self.smoothing = smoothing

    def setup(self, data: ImageSet) -> None:
        """Refuse samples without any label."""
        if data.target is None:
            known_labels(data, "erm")

    def forward(self, model: Any, batch: Batch) -> Loss:
        """Cross-entropy of ``model(batch.image)``, ``[B, K]``."""
        logits = model(batch.image)
        if batch.weight is None:
            return Loss(cross_entropy(logits, batch, self.smoothing, "mean"))
        return Loss(weighted_mean(cross_entropy(logits, batch, self.smoothing), batch))
