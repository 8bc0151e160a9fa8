"""`Objective` and `Loss`: what the loop trains with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.data.imageset import ImageSet


@dataclass(slots=True)
class Loss:
    """The loss of a batch.

    Attributes:
        total: scalar to minimise.
        parts: detached tensors worth a line in the metrics, by name; only their means over a few steps are written.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module):
    """What training minimises. Learned parts are parameters, memory is buffers: both are trained and checkpointed.

    Attributes:
        rng: generator for the objective's own draws, on the batch's device; the loop starts it anew from the step's
            number before every batch, so that a resumed run draws the same.
    """

    rng: torch.Generator

    def __init__(self) -> None:
        super().__init__()
        self.rng = torch.Generator()

    def setup(self, data: ImageSet) -> None:
        """Look at the training data once: class and group counts. Called before the first step."""

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss of a batch."""
        raise NotImplementedError

    def step(self, model: Any, batch: Batch, optimizer: Any) -> Loss:
        """One update by the loop's :class:`~kintsugi.training.stepper.Stepper`; two-step methods override it."""
        loss: Loss = self(model, batch)
        optimizer.update(loss.total)
        return loss


def cross_entropy(logits: Tensor, batch: Batch, smoothing: float = 0.0, reduction: str = "none") -> Tensor:
    """Cross-entropy of each sample, ``[B]``, to its soft label where the batch has them, else to its label."""
    truth = batch.label if batch.target is None else batch.target
    return functional.cross_entropy(logits, truth, reduction=reduction, label_smoothing=smoothing)


def weighted_mean(loss: Tensor, batch: Batch) -> Tensor:
    """Mean of ``weight * loss`` over the batch: weights of mean 1 keep the size of the step."""
    return loss.mean() if batch.weight is None else (loss * batch.weight).mean()
