<<<<<<< HEAD
"""What every corruption has in common: checks, presets by image size, clipping, and the type of the result."""
=======
"""The family of corruptions: what every member must never forget is in one final entry.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. Each corruption has five severities, in two tables: the paper's for images of 224 pixels, and the
weaker ones its authors published for images of 32 (CIFAR-10-C). Their published files also went through JPEG at
quality 85 once more; ours do not.
"""
>>>>>>> main

from __future__ import annotations

from abc import ABC, abstractmethod
<<<<<<< HEAD
=======
from dataclasses import dataclass
>>>>>>> main
from typing import Any, ClassVar, final

import torch

<<<<<<< HEAD
from kintsugi.core.errors import BadArgument, BadData, one_of

SMALL = 64  # images whose shorter side is at most this many pixels take the presets of CIFAR-10-C
PRESETS = ("auto", "small", "large")


class Corrupted(ABC):
    """A family member fills in two tables of five strengths and :meth:`apply`.

    Args:
        preset: ``large`` (ImageNet-C, made for 224 pixels), ``small`` (CIFAR-10-C, made for 32), or ``auto``: small
            for images of up to 64 pixels on their shorter side.
    """

    large: ClassVar[tuple[Any, ...]]
    small: ClassVar[tuple[Any, ...]]

    def __init__(self, preset: str = "auto") -> None:
        one_of("preset", preset, PRESETS)
        self.preset = preset

    @final
    @torch.no_grad()
    def __call__(self, image: torch.Tensor, severity: int, rng: torch.Generator) -> torch.Tensor:
        """Corrupt a batch.

        Args:
            image: float ``[B, C, H, W]`` in 0..1, untouched.
            severity: 1 (slight) to 5 (strong).
            rng: for what is random; may live on another device than the images.

        Returns:
            The same shape, dtype and device, in 0..1.

        Raises:
            BadArgument: the severity is none of 1..5.
            BadData: the images have another type, shape or range.
        """
        if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
            raise BadArgument.of("severity", severity, "a whole number from 1 to 5")
        if image.ndim != 4 or not image.is_floating_point():
            raise BadData(f"image has dtype {image.dtype} and shape {tuple(image.shape)}:", "give float [B, C, H, W].")
        if not image.numel():
            return image.clone()
        low, high = image.aminmax()
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise BadData(f"image reaches from {low:.3g} to {high:.3g}:", "give images in 0..1.")
        small = self.preset == "small" or (self.preset == "auto" and min(image.shape[-2:]) <= SMALL)
        strength = (self.small if small else self.large)[int(severity) - 1]
        made = self.apply(image.float(), strength, rng)
        return made.clamp(0.0, 1.0).to(image.dtype)

    @abstractmethod
    def apply(self, image: torch.Tensor, strength: Any, rng: torch.Generator) -> torch.Tensor:
        """The corruption itself, on float32 ``[B, C, H, W]``; the caller clips."""


def normal(image: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Standard normal numbers shaped like the images, drawn where the generator lives."""
    return torch.randn(image.shape, generator=rng, device=rng.device).to(image.device)


def mirrored(size: int, reach: int) -> torch.Tensor:
    """Indices that extend ``0..size-1`` by ``reach`` on both sides, mirrored at the outer pixels' centres.

    Works for any reach, where :func:`torch.nn.functional.pad` wants it below ``size``.
    """
    turn = max(2 * (size - 1), 1)
    place = torch.arange(-reach, size + reach) % turn
    return torch.minimum(place, turn - place) if size > 1 else torch.zeros(1 + 2 * reach, dtype=torch.int64)
=======
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
>>>>>>> main
