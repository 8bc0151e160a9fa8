"""Defocus blur: every point of light becomes a disk, as in a lens that is out of focus.

Hendrycks and Dietterich 2019 (arXiv 1903.12261): convolution with a disk of radius r whose edge is softened by a
Gaussian of standard deviation s over 3 x 3 (r up to 8) or 5 x 5 pixels; the image is mirrored at its border, the edge
pixel not repeated. The published code softens the disk on a grid that ends at its rim (r 8 and above), which folds
some weight back inside; here the grid has room, so that the kernel is the disk softened and sums to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corruption

CARD = Card(
    name="defocus_blur",
    kind="corruption",
    title="a lens out of focus: every point becomes a disk",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
    "ICLR 2019, arXiv 1903.12261",
    card=41,
    code="hendrycks/robustness",
    status="proven",
)


@dataclass(frozen=True)
class DefocusBlur(Corruption):
    """Blurs by a softened disk; a table's numbers are its radius and the softening, in pixels.

    Args:
        preset: ``32``, ``224`` or ``auto``, by the size of the image.
    """

    at_32: ClassVar[tuple[Any, ...]] = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
    at_224: ClassVar[tuple[Any, ...]] = ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))

    def run(self, image: torch.Tensor, strength: Any, rng: torch.Generator) -> torch.Tensor:
        """Convolve every channel with the disk. Nothing is random."""
        kernel = _disk(*strength).to(image)
        reach = len(kernel) // 2
        padded = _mirrored(_mirrored(image, reach, 2), reach, 3)
        planes = padded.flatten(0, 1)[:, None]
        return functional.conv2d(planes, kernel[None, None])[:, 0].unflatten(0, image.shape[:2])


def _disk(radius: float, softness: float) -> torch.Tensor:
    """The softened disk, float64 ``[2 R + 1, 2 R + 1]``, summing to 1."""
    around = 1 if radius <= 8 else 2
    reach = math.floor(radius) + around
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (place[:, None].square() + place.square() <= radius**2).double()
    offset = torch.arange(-around, around + 1, dtype=torch.float64)
    bell = torch.exp(-0.5 * (offset / softness).square())
    soft = functional.conv2d(disk[None, None], torch.outer(bell, bell)[None, None], padding=around)[0, 0]
    return soft / soft.sum()


def _mirrored(image: torch.Tensor, reach: int, axis: int) -> torch.Tensor:
    """Pad one axis by mirroring about the edge pixels, as often as it takes: a kernel may be wider than the image."""
    size = image.shape[axis]
    place = torch.arange(-reach, size + reach, device=image.device)
    period = max(1, 2 * (size - 1))
    folded = place.remainder(period)
    return image.index_select(axis, torch.minimum(folded, period - folded) if size > 1 else torch.zeros_like(place))
