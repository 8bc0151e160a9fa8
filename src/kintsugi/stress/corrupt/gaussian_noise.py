"""Adds normal noise, independent a pixel and channel, as a sensor in low light does.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019:
x' = clip(x + sigma n). The published test sets are stored as JPEG of quality 85 on top; we do not repeat that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corrupted, normal

if TYPE_CHECKING:
    import torch

CARD = Card(
    name="gaussian_noise",
    kind="corruption",
    title="Normal noise on every pixel",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness, ICLR 2019, arXiv:1903.12261",
    card=41,
    code="https://github.com/hendrycks/robustness",
)


class GaussianNoise(Corrupted):
    """Normal noise; strengths are standard deviations in units of the range."""

    large = (0.08, 0.12, 0.18, 0.26, 0.38)
    small = (0.04, 0.06, 0.08, 0.09, 0.10)

    def apply(self, image: torch.Tensor, strength: float, rng: torch.Generator) -> torch.Tensor:
        """Add the noise."""
        return image + strength * normal(image, rng)
