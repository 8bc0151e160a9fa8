"""Integrated gradients: the credit of a pixel is its gradient, averaged on the way from a baseline to the image.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv 1703.01365. Equation 1:
IG_i(x) = (x_i - x'_i) * integral over a in 0..1 of dF(x' + a (x - x')) / dx_i. Equation 3 sums over steps; we take the
midpoints a = (k - 1/2) / m, whose error falls with m squared. Completeness (proposition 1): the credits add up to
F(x) - F(x'), which also tells whether the steps are enough. A map is the sum over the channels, with its sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.kinds import Model
from kintsugi.core.randomness import torch_rng
from kintsugi.models.frozen import frozen

CARD = Card(
    name="integrated_gradients",
    kind="explainer",
    title="which pixels an answer rests on, adding up to the answer",
    paper="Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017, arXiv 1703.01365",
    card=0,
    code="ankurtaly/Integrated-Gradients",
    status="proven",
)

BASELINES = ("black", "mean", "noise")


@dataclass(frozen=True)
class IntegratedGradients:
    """Signed credit of every pixel for one class.

    Args:
        baseline: what counts as nothing: ``black``, ``mean`` (each image's own mean colour) or ``noise`` (uniform in
            the model's bounds, the same for all images). Pixels equal to the baseline get no credit: with ``black``,
            black things are never seen.
        steps: points on the way.
        of: ``logit`` of the class, or ``probability`` (the paper's choice).
        chunk: images asked at once; bounds the memory and changes nothing else.
        rng: seed of the noise.

    Raises:
        BadArgument: a value is not allowed.
    """

    baseline: str = "black"
    steps: int = 50
    of: str = "logit"
    chunk: int = 64
    rng: int = 0

    def __post_init__(self) -> None:
        one_of("baseline", self.baseline, BASELINES)
        one_of("of", self.of, ("logit", "probability"))
        for name in ("steps", "chunk"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, name, value, "a whole number from 1")

    def __call__(self, model: Model, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Maps float ``[B, H, W]``; each adds up to F(x) - F(x') of its class but for the error of the steps.

        Args:
            model: differentiable; it is asked in eval mode and left as it was.
            image: float ``[B, C, H, W]`` in the model's bounds.
            target: int64 ``[B]``, the class to explain.

        Raises:
            BadData: shapes do not fit, a class does not exist, or the gradient is not finite.
        """
        if image.ndim != 4 or not image.is_floating_point() or target.shape != image.shape[:1]:
            raise BadData(
                f"image of shape {tuple(image.shape)} ({image.dtype}) for target of shape {tuple(target.shape)}:",
                "give float [B, C, H, W] and one class an image.",
            )
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < len(model.classes):
            raise BadData(
                f"target names classes {int(target.min())} to {int(target.max())} of {len(model.classes)}:",
                "give classes the model answers in.",
            )
        # Explanations are also asked for inside no_grad and inference_mode, in evaluation loops.
        with torch.inference_mode(False), torch.enable_grad(), frozen(model):
            given, wanted = image.detach().clone(), target.detach().clone()
            away = given - self.start(given, model.bounds)
            mean = torch.zeros_like(given)
            # One long row of (image, step) pairs, cut into chunks: memory does not depend on steps.
            for pairs in torch.arange(len(given) * self.steps, device=given.device).split(self.chunk):
                row, step = pairs // self.steps, pairs % self.steps
                left = 1.0 - (step.to(given.dtype) + 0.5) / self.steps
                point = given[row] - left[:, None, None, None] * away[row]
                mean.index_add_(0, row, self._slope(model, point, wanted[row]) / self.steps)
            return (away * mean).sum(1)

    def start(self, image: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
        """The baseline of each image, ``[B, C, H, W]`` or of a shape that broadcasts to it."""
        low, high = bounds
        if self.baseline == "black":
            return torch.full_like(image[:1], low)
        if self.baseline == "mean":
            return image.mean((2, 3), keepdim=True)
        rng = torch_rng(self.rng, "integrated-gradients")
        return low + (high - low) * torch.rand(image.shape[1:], generator=rng).to(image)

    def _slope(self, model: Model, point: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        leaf = point.detach().requires_grad_()
        answer = model(leaf)
        if self.of == "probability":
            answer = answer.softmax(1)
        (slope,) = torch.autograd.grad(answer.gather(1, target[:, None]).sum(), leaf)
        if not slope.isfinite().all():
            raise BadData("The model's gradient is not finite for these images.", "Look for NaN in its weights.")
        return slope
