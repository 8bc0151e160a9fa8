"""What the augmentations that mix images share: the coefficient and the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from kintsugi.core.errors import BadArgument, one_of, require

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.data.imageset import ImageSet


class Mixing:
    """Settings of an augmentation that mixes each image with its neighbour in the batch.

    Args:
        alpha: of the Beta(alpha, alpha) distribution that the coefficient is drawn from, above 0.
        target: ``mix`` mixes the labels as the images, into ``batch.target``; ``keep`` leaves all labels alone, for
            teachers that label the mixed image (card 57).
        classes: number of classes; None takes the data's, or that of the batch's soft labels.

    Raises:
        BadArgument: a value is not allowed.
    """

    def __init__(self, alpha: float = 1.0, target: str = "mix", classes: int | None = None) -> None:
        require(alpha > 0.0, "alpha", alpha, "a number above 0")
        one_of("target", target, ("mix", "keep"))
        require(classes is None or classes >= 1, "classes", classes, "a whole number from 1, or None")
        self.alpha, self.target, self.classes = alpha, target, classes
        self._classes = classes

    def setup(self, data: ImageSet) -> None:
        """Count the classes."""
        self._classes = self.classes or len(data.classes)

    def _draw(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """A coefficient from Beta(alpha, alpha), 0-d, on the image's device, without waiting for it."""
        if self.alpha == 1.0:
            return torch.rand((), generator=rng, device=rng.device).to(image.device)
        shape = torch.full((2,), self.alpha, dtype=torch.float64, device=rng.device)
        gamma = torch._standard_gamma(shape, generator=rng)  # noqa: SLF001 - the one that takes a generator
        return (gamma[0] / gamma.sum()).float().to(image.device)

    def _mixed(self, batch: Batch, share: Tensor) -> Tensor | None:
        """The labels ``[B, K]`` where each image keeps ``share`` of itself, or the batch's own."""
        if self.target == "keep":
            return batch.target
        truth = batch.target
        if truth is None:
            if self._classes is None:
                raise BadArgument("To mix hard labels, the number of classes must be known.", "Give classes=K.")
            truth = functional.one_hot(batch.label, self._classes).to(batch.image.dtype)
        return share * truth + (1.0 - share) * truth.roll(1, 0)
