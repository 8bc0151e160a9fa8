"""PGD: many small steps, each projected back into the ball, from a random start: the strongest first-order attack.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, arXiv 1706.06083, section 2:
x^{t+1} = Proj(x^t + alpha sign(grad_x L(theta, x^t, y))), with x^0 drawn uniformly in the ball. The step alpha is given
as a share of eps (0.25 is the paper's 2/255 at eps 8/255, with 10 steps). Of several restarts the image whose wrong
answer leads by most is kept, for each sample. In l2 the start is uniform in the ball: a normal direction times
eps u^(1/d).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kintsugi.core.batch import Batch
from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.kinds import Model
from kintsugi.stress.attack.base import Attack

CARD = Card(
    name="pgd",
    kind="attack",
    title="many projected gradient steps from random starts",
    paper="Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, arXiv 1706.06083",
    card=85,
    code="MadryLab/cifar10_challenge",
    status="proven",
)


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent.

    Args:
        norm: ``linf`` or ``l2``.
        targeted: ``batch.label`` is the class the model shall answer.
        label: ``given`` or ``predicted``.
        steps: gradient steps a restart.
        step: size of a step, as a share of ``eps``; ``steps`` times ``step`` should be above 1, to cross the ball.
        random_start: begin at a random place in the ball instead of at the image.
        restarts: independent beginnings; above 1 only with ``random_start``.

    Raises:
        BadArgument: a value is not allowed.
    """

    steps: int = 10
    step: float = 0.25
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.steps, int) and self.steps >= 1, "steps", self.steps, "a whole number from 1")
        require(0 < self.step < float("inf"), "step", self.step, "a number above 0")
        require(isinstance(self.random_start, bool), "random_start", self.random_start, "true or false")
        require(
            isinstance(self.restarts, int) and self.restarts >= 1, "restarts", self.restarts, "a whole number from 1"
        )
        require(self.restarts == 1 or self.random_start, "restarts", self.restarts, "1, without random_start")

    def run(self, model: Model, batch: Batch, *, eps: float, rng: torch.Generator) -> torch.Tensor:
        """The best of all restarts."""
        best = self._climb(model, batch, eps, rng)
        if self.restarts > 1:
            lead = self._lead(model, best, batch.label)
        for _ in range(self.restarts - 1):
            other = self._climb(model, batch, eps, rng)
            new = self._lead(model, other, batch.label)
            better = new > lead
            best = torch.where(better[:, None, None, None], other, best)
            lead = torch.where(better, new, lead)
        return best

    def _climb(self, model: Model, batch: Batch, eps: float, rng: torch.Generator) -> torch.Tensor:
        image = batch.image
        if self.random_start:
            image = self.clip(image + self._start(image, eps, rng), batch.image, eps, model.bounds)
        for _ in range(self.steps):
            moved = image + self.step * eps * self.steepest(model, image, batch.label)
            image = self.clip(moved, batch.image, eps, model.bounds)
        return image

    def _start(self, image: torch.Tensor, eps: float, rng: torch.Generator) -> torch.Tensor:
        shape = image.shape if self.norm == "linf" else (len(image), 1, 1, 1)
        share = torch.rand(shape, generator=rng, device=rng.device, dtype=image.dtype).to(image.device)
        if self.norm == "linf":
            return eps * (2.0 * share - 1.0)
        return self.random_change(image, eps, rng) * share ** (1.0 / image[0].numel())

    def _lead(self, model: Model, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """How far the wanted kind of answer is ahead, float ``[B]``: above 0 the sample is broken."""
        with torch.no_grad():
            logits = model(image)
        mine = torch.nn.functional.one_hot(label, logits.shape[1]).bool()
        ahead = logits.masked_fill(mine, -torch.inf).amax(1) - logits[mine]
        return -ahead if self.targeted else ahead
