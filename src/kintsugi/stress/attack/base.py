"""The family of attacks: bounds, clipping, counting success and the random control are in one final entry.

What is easily forgotten is done here for every member: the model is asked in eval mode and its weights keep neither
gradients nor changed flags; the result is clipped to the ball and to the model's bounds; only samples that were right
before can be broken; and random noise of the same size is tried beside it, since a model that falls to noise says
nothing about the attack.

Directions. Goodfellow et al. 2015 climb J = -log p_y. With m = log sum_{k != y} exp(z_k) - z_y it is
J = log(1 + e^m), so grad J = sigmoid(m) grad m: the same direction for each sample, at any saturation. Members climb m,
because in floating point sigmoid(m) is 0 for a model that is very sure, and the sign of a gradient of 0 moves nothing
(gradient masking, which looks like robustness). A gradient that is 0 for another reason still moves nothing: see
:attr:`AttackResult.unmoved`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import torch

from kintsugi.core.batch import Batch
from kintsugi.core.budget import check
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.kinds import Model
from kintsugi.core.randomness import draw_seed
from kintsugi.models.frozen import frozen

NORMS = ("linf", "l2")


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What an attack did to a batch.

    Attributes:
        image: float ``[B, C, H, W]``, within ``eps`` of the given images and within the model's bounds.
        eligible: bool ``[B]``: the model was right before (targeted: did not answer the target yet).
        success: bool ``[B]``: eligible, and wrong now (targeted: answers the target now).
        control_success: bool ``[B]``: eligible, and broken by one random change of the same ``eps`` and norm.
        queries: images the model was asked about by the attack itself, on average a sample.
        linf: float ``[B]``, largest change of a pixel.
        l2: float ``[B]``, Euclidean length of the change.
    """

    image: torch.Tensor
    eligible: torch.Tensor
    success: torch.Tensor
    control_success: torch.Tensor
    queries: float
    linf: torch.Tensor
    l2: torch.Tensor

    @property
    def rate(self) -> float:
        """Share of the eligible samples that were broken; NaN when there are none."""
        return _share(self.success, self.eligible)

    @property
    def control_rate(self) -> float:
        """Share of the eligible samples that random noise broke; NaN when there are none."""
        return _share(self.control_success, self.eligible)

    @property
    def unmoved(self) -> torch.Tensor:
        """Eligible samples the attack did not change, bool ``[B]``: a masked gradient, which is not robustness."""
        return self.eligible & (self.linf == 0)


@dataclass(frozen=True)
class Attack(ABC):
    """A change made to break one model. A member gives one thin :meth:`run`.

    Args:
        norm: ``linf`` (largest change of any pixel) or ``l2`` (length of the whole change).
        targeted: ``batch.label`` is the class the model shall answer, instead of the true one.
        label: ``given`` attacks the batch's labels; ``predicted`` the model's own answers, which needs no labels and
            leaks none into adversarial training.

    Raises:
        BadArgument: a value is not allowed.
    """

    norm: str = "linf"
    targeted: bool = False
    label: str = "given"

    def __post_init__(self) -> None:
        one_of("norm", self.norm, NORMS)
        one_of("label", self.label, ("given", "predicted"))
        require(isinstance(self.targeted, bool), "targeted", self.targeted, "true or false")
        require(not (self.targeted and self.label == "predicted"), "label", self.label, "given, with targeted")

    @final
    def __call__(self, model: Model, batch: Batch, *, eps: float, rng: torch.Generator) -> AttackResult:
        """Attack a batch; it and the model are left as they were.

        Args:
            model: differentiable, images in ``model.bounds`` to logits.
            batch: images float ``[B, C, H, W]`` within the bounds, and labels int64 ``[B]``.
            eps: size of the ball, in the images' own units (8/255, not 8).
            rng: all randomness, the control's included; it may live on another device than the images.

        Raises:
            BadArgument: ``eps`` is negative, not finite, or larger than the bounds allow.
            BadData: images lie outside the bounds, labels are unknown, or the gradient is not finite.
            BudgetSpent: the time given to the work is spent.
        """
        low, high = model.bounds
        self._check(batch, eps, low, high)
        control_rng = torch.Generator(rng.device).manual_seed(draw_seed(rng))
        # Attacks are also asked for inside no_grad and inference_mode, in evaluation loops.
        with torch.inference_mode(False), torch.enable_grad(), frozen(model):
            counted = _Counted(model)
            image = batch.image.detach().clone()
            with torch.no_grad():
                before = model(image).argmax(1)
            label = before if self.label == "predicted" else batch.label.clone()
            aimed = batch.replace(image=image, label=label)
            made = self.clip(self.run(counted, aimed, eps=eps, rng=rng).detach(), image, eps, model.bounds)
            control = self.clip(image + self.random_change(image, eps, control_rng), image, eps, model.bounds)
            with torch.no_grad():
                after, noisy = model(made).argmax(1), model(control).argmax(1)
        eligible = before != label if self.targeted else before == label
        change = (made - image).flatten(1)
        return AttackResult(
            made,
            eligible,
            eligible & self._broken(after, label),
            eligible & self._broken(noisy, label),
            counted.images / max(1, len(batch)),
            change.abs().amax(1),
            change.norm(dim=1),
        )

    @abstractmethod
    def run(self, model: Model, batch: Batch, *, eps: float, rng: torch.Generator) -> torch.Tensor:
        """Adversarial images ``[B, C, H, W]`` for ``batch.label``; clipped and counted by the caller."""

    # --------------------------------------------------------------------------------------- what members use

    def steepest(self, model: Model, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Direction of unit norm that raises the loss (targeted: lowers it) the fastest, ``[B, C, H, W]``.

        For ``linf`` the sign of the gradient, for ``l2`` the gradient over its length; 0 where the gradient is 0.
        """
        check()  # a batch on a large net takes minutes without a GPU
        leaf = image.detach().requires_grad_()
        (slope,) = torch.autograd.grad(excess(model(leaf), label).sum(), leaf)
        if not slope.isfinite().all():
            raise BadData("The model's gradient is not finite for this batch.", "Look for NaN in its weights.")
        return (-1.0 if self.targeted else 1.0) * (slope.sign() if self.norm == "linf" else _unit(slope))

    def clip(self, made: torch.Tensor, image: torch.Tensor, eps: float, bounds: tuple[float, float]) -> torch.Tensor:
        """The nearest images in the ball around ``image``, then within the bounds (which leaves them in the ball)."""
        change = made - image
        if self.norm == "linf":
            change = change.clamp(-eps, eps)
        else:
            length = change.flatten(1).norm(dim=1).clamp_min(torch.finfo(change.dtype).tiny)
            change = change * (eps / length).clamp_max(1.0)[:, None, None, None]
        return (image + change).clamp(*bounds)

    def random_change(self, image: torch.Tensor, eps: float, rng: torch.Generator) -> torch.Tensor:
        """A random change of full size: signs for ``linf``, a direction for ``l2``, ``[B, C, H, W]``."""
        noise = torch.randn(image.shape, generator=rng, device=rng.device, dtype=image.dtype).to(image.device)
        return eps * (noise.sign() if self.norm == "linf" else _unit(noise))

    # ------------------------------------------------------------------------------------------------- checks

    def _broken(self, answer: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return answer == label if self.targeted else answer != label

    def _check(self, batch: Batch, eps: float, low: float, high: float) -> None:
        if not (isinstance(eps, int | float) and 0 <= eps < float("inf")):
            raise BadArgument.of("eps", eps, "a number from 0")
        if self.norm == "linf":
            require(eps <= high - low, "eps", eps, f"at most {high - low:g}, the range of the images (8/255, not 8)")
        if batch.image.numel():
            least, most = (float(value) for value in batch.image.detach().aminmax())
            if not (least >= low and most <= high):
                raise BadData(f"image has values from {least:.4g} to {most:.4g}:", f"scale it to {low:g}..{high:g}.")
        if self.label == "given" and bool((batch.label < 0).any()):
            count = int((batch.label < 0).sum())
            raise BadData(f"{count} samples of the batch have no label:", "leave them out, or use label='predicted'.")


class _Counted:
    """A model that counts the images it is asked about."""

    def __init__(self, model: Model) -> None:
        self.model, self.images = model, 0
        self.classes, self.bounds = model.classes, model.bounds

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        self.images += len(image)
        return self.model(image)

    def features(self, image: torch.Tensor, at: str | None = None) -> torch.Tensor:
        self.images += len(image)
        return self.model.features(image, at)


def excess(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The excess log sum_{k != y} exp(z_k) - z_y, float ``[B]``: increasing with cross-entropy, and it never saturates.

    Raises:
        BadData: there is one class only.
    """
    if logits.shape[1] < 2:
        raise BadData("The model answers in one class only:", "nothing can be broken.")
    mine = torch.nn.functional.one_hot(label, logits.shape[1]).bool()
    return logits.masked_fill(mine, -torch.inf).logsumexp(1) - logits[mine]


def _unit(change: torch.Tensor) -> torch.Tensor:
    # Scaled by its largest entry first: the square of a tiny gradient is 0.
    scaled = change / change.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(change.dtype).tiny)
    length = scaled.flatten(1).norm(dim=1).clamp_min(torch.finfo(change.dtype).tiny)
    return scaled / length[:, None, None, None]


def _share(hit: Any, among: Any) -> float:
    count = int(among.sum())
    return int(hit.sum()) / count if count else float("nan")
