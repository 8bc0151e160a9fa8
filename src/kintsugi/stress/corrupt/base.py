"""What every corruption has in common: checks, presets by image size, clipping, and the type of the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import torch

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
