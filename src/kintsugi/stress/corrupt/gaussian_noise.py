<<<<<<< HEAD
"""Adds normal noise, independent a pixel and channel, as a sensor in low light does.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019:
x' = clip(x + sigma n). The published test sets are stored as JPEG of quality 85 on top; we do not repeat that.
=======
"""Gaussian noise: the electronic noise of a sensor in the dark, independent in every pixel and channel.

Hendrycks and Dietterich 2019 (arXiv 1903.12261): x' = clip(x + c n), n standard normal, with c by severity.
Several images of a batch share one stream of random numbers, so an image's noise depends on its place in the batch.
>>>>>>> main
"""

from __future__ import annotations

<<<<<<< HEAD
from typing import TYPE_CHECKING

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corrupted, normal

if TYPE_CHECKING:
    import torch
=======
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corruption, normal_like
>>>>>>> main

CARD = Card(
    name="gaussian_noise",
    kind="corruption",
<<<<<<< HEAD
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
=======
    title="sensor noise, independent in every pixel",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
    "ICLR 2019, arXiv 1903.12261",
    card=41,
    code="hendrycks/robustness",
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
>>>>>>> main
