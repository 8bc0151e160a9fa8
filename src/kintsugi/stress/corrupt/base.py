"""The family of corruptions: what every member must never forget is in one final entry.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. Each corruption has five severities, in two tables: the paper's for images of 224 pixels, and the
weaker ones its authors published for images of 32 (CIFAR-10-C). Their published files also went through JPEG at
quality 85 once more; ours do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch

from kintsugi.core.errors import BadData, one_of, require

SMALL = 64  # pixels: up to this side the table for 32 is used
PRESETS = ("auto", "32", "224")


@dataclass(frozen=True)
class Corruption(ABC):
    """A change a camera, codec or the weather makes. A member gives two tables and one thin :meth:`run`.

    Args:
        preset: table of strengths: ``32``, ``224``, or ``auto``, which takes 32 for images of at most 64 pixels a side.

    Raises:
        BadArgument: ``preset`` is none of these.
    """

    at_32: ClassVar[tuple[Any, ...]]
    at_224: ClassVar[tuple[Any, ...]]

    preset: str = "auto"

    def __post_init__(self) -> None:
        one_of("preset", self.preset, PRESETS)

    @final
    def __call__(self, image: torch.Tensor, severity: int, rng: torch.Generator) -> torch.Tensor:
        """The corrupted images.

        Args:
            image: float ``[B, C, H, W]`` in 0..1, C 1 or 3; left untouched.
            severity: 1 (mild) to 5 (strong).
            rng: all randomness; it may live on another device than the image.

        Returns:
            Same shape, dtype and device, in 0..1, without gradient.

        Raises:
            BadArgument: the severity is not 1..5.
            BadData: the image is not what it should be.
        """
        require(
            isinstance(severity, int) and not isinstance(severity, bool) and 1 <= severity <= 5,
            "severity",
            severity,
            "a whole number from 1 to 5",
        )
        check_image(image)
        with torch.no_grad():
            # Half precision has too few steps between 0 and 1 to add several small changes in.
            wide = image.detach().to(torch.promote_types(image.dtype, torch.float32))
            made = self.run(wide, self.strength(image, severity), rng)
            return made.clamp(0.0, 1.0).to(image.dtype)

    def strength(self, image: torch.Tensor, severity: int) -> Any:
        """What the table in force says for this severity and size of image."""
        small = self.preset == "32" or (self.preset == "auto" and max(image.shape[-2:]) <= SMALL)
        return (self.at_32 if small else self.at_224)[severity - 1]

    @abstractmethod
    def run(self, image: torch.Tensor, strength: Any, rng: torch.Generator) -> torch.Tensor:
        """The change itself: float32 or float64 ``[B, C, H, W]`` to the same shape; clipped by the caller."""


def check_image(image: torch.Tensor) -> None:
    """Refuse all but float ``[B, 1 or 3, H, W]`` in 0..1.

    Raises:
        BadData: another shape, type or range.
    """
    if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point():
        raise BadData(
            f"image has dtype {image.dtype} and shape {tuple(image.shape)}:",
            "give float [B, C, H, W] in 0..1 with C 1 or 3.",
        )
    if image.numel():
        low, high = (float(value) for value in image.detach().aminmax())
        if not (low >= 0.0 and high <= 1.0):  # so written that NaN is refused too
            raise BadData(f"image has values from {low:.4g} to {high:.4g}:", "scale it to 0..1.")


def normal_like(image: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Standard normal numbers of the image's shape and dtype, drawn where the generator lives."""
    return torch.randn(image.shape, generator=rng, device=rng.device, dtype=image.dtype).to(image.device)
