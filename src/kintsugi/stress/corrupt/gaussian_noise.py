"""Gaussian noise: the electronic noise of a sensor in the dark, independent in every pixel and channel.

Hendrycks and Dietterich 2019 (arXiv 1903.12261): x' = clip(x + c n), n standard normal, with c by severity.
Several images of a batch share one stream of random numbers, so an image's noise depends on its place in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corruption, normal_like

CARD = Card(
    name="gaussian_noise",
    kind="corruption",
    title="sensor noise, independent in every pixel",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
    "ICLR 2019, arXiv 1903.12261",
    card=41,
    code="hendrycks/robustness",
    status="proven",
)


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """Adds normal noise; a table's number is its standard deviation, in units of the full range.

    Args:
        preset: ``32``, ``224`` or ``auto``, by the size of the image.
    """

    at_32: ClassVar[tuple[Any, ...]] = (0.04, 0.06, 0.08, 0.09, 0.10)
    at_224: ClassVar[tuple[Any, ...]] = (0.08, 0.12, 0.18, 0.26, 0.38)

    def run(self, image: torch.Tensor, strength: Any, rng: torch.Generator) -> torch.Tensor:
        """``image + strength * n``."""
        return image + strength * normal_like(image, rng)
