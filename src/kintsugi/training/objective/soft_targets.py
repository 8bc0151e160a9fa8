"""Train on soft labels that the data carries, such as a teacher's probabilities stored once for every image.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531), section 2. With
temperature T both sides are softened: the stored probabilities p become p^(1/T) normalised, which equals
softmax(z/T) of the logits z they came from, and the loss is T^2 * CE(p_T, softmax(s/T)) for student logits s. The
factor T^2 keeps the size of the gradient (their section 2). T = 1 is plain cross-entropy to p, the EDRM loss of ConfiG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.training.objective.base import Loss, Objective, weighted_mean

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="soft_targets",
    kind="objective",
    title="cross-entropy to soft labels stored with the data",
    paper="Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531",
    card=0,
    needs=("soft labels",),
    status="proven",
)


class SoftTargets(Objective):
    """Mean cross-entropy to ``batch.target``.

    Args:
        temperature: softens both the stored labels and the student, above 0.

    Raises:
        BadArgument: ``temperature`` is not above 0.
        BadData: the data, or a batch, has no soft labels.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        require(temperature > 0.0, "temperature", temperature, "a number above 0")
        self.temperature = temperature

    def setup(self, data: ImageSet) -> None:
        """Refuse data without soft labels."""
        if data.target is None:
            raise BadData(
                "soft_targets needs soft labels, and the data has no column 'target'.", "Add it by with_targets."
            )

    def forward(self, model: Any, batch: Batch) -> Loss:
        """T^2 times the cross-entropy of ``model(batch.image)`` to ``batch.target``, both ``[B, K]``."""
        if batch.target is None:
            raise BadData("The batch has no soft labels.", "Use erm for hard labels.")
        logits, target = model(batch.image), batch.target
        if self.temperature != 1.0:
            softened = target ** (1.0 / self.temperature)
            target = softened / softened.sum(dim=1, keepdim=True)
            logits = logits / self.temperature
        loss = functional.cross_entropy(logits, target, reduction="none") * self.temperature**2
        return Loss(weighted_mean(loss, batch))
