"""FGSM: one step of full size along the sign of the loss's gradient breaks most models.

Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, arXiv 1412.6572, section 4:
x' = clip(x + eps sign(grad_x J(theta, x, y))), which maximises the linearised loss in the l-infinity ball; in the l2
ball the maximiser is x + eps g / |g|. Targeted: the sign is reversed and y is the target. Pixels whose gradient is
exactly 0 stay as they are, since sign(0) = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kintsugi.core.batch import Batch
from kintsugi.core.card import Card
from kintsugi.core.kinds import Model
from kintsugi.stress.attack.base import Attack

CARD = Card(
    name="fgsm",
    kind="attack",
    title="one step along the sign of the gradient",
    paper="Goodfellow, Shlens and Szegedy, Explaining and Harnessing Adversarial Examples, ICLR 2015, arXiv 1412.6572",
    card=85,
    code="cleverhans-lab/cleverhans",
    status="proven",
)


@dataclass(frozen=True)
class FGSM(Attack):
    """The fast gradient sign method.

    Args:
        norm: ``linf`` or ``l2``.
        targeted: ``batch.label`` is the class the model shall answer.
        label: ``given`` or ``predicted``.
    """

    def run(self, model: Model, batch: Batch, *, eps: float, rng: torch.Generator) -> torch.Tensor:
        """One step: x + eps times the steepest direction. Nothing is random."""
        return batch.image + eps * self.steepest(model, batch.image, batch.label)
