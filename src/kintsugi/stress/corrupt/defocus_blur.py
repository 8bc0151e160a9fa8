"""Blurs with a disk, as a lens out of focus does.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.
The disk of radius r lives on a grid of 17 x 17 pixels (2r + 1 for larger r), sums to 1, and is smoothed by a small
Gaussian of 3 x 3 (5 x 5 for r above 8) taps against staircase edges; image and disk are mirrored at their borders.
As in the published sets, the mirrored border makes the disks of radius 8 and 10 about 1% too bright.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corrupted, mirrored

CARD = Card(
    name="defocus_blur",
    kind="corruption",
    title="Blur of a lens out of focus",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness, ICLR 2019, arXiv:1903.12261",
    card=41,
    code="https://github.com/hendrycks/robustness",
)


class DefocusBlur(Corrupted):
    """Disk blur; strengths are the disk's radius in pixels and the standard deviation of its smoothing."""

    large = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
    small = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))

    def apply(self, image: torch.Tensor, strength: tuple[float, float], rng: torch.Generator) -> torch.Tensor:  # noqa: ARG002
        """Convolve each channel with the disk; nothing is random."""
        return _filtered(image, disk(*strength).to(image.device))


def disk(radius: float, smoothing: float) -> torch.Tensor:
    """The blur's kernel, float32 ``[S, S]`` with odd S, without its empty border."""
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    flat = (line[:, None] ** 2 + line**2 <= radius**2).double()
    near = torch.arange(taps, dtype=torch.float64) - taps // 2
    bell = torch.exp(-(near**2) / (2 * smoothing**2))
    bell /= bell.sum()
    kernel = _filtered((flat / flat.sum())[None, None], bell[:, None] * bell)[0, 0]
    used = int((kernel.abs().sum(0) > 0).nonzero().min())
    return kernel[used : kernel.shape[0] - used, used : kernel.shape[1] - used].float()


def _filtered(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Each channel convolved with a symmetric kernel ``[S, S]``."""
    reach, channels = kernel.shape[0] // 2, image.shape[1]
    down, right = (mirrored(size, reach).to(image.device) for size in image.shape[-2:])
    padded = image.index_select(2, down).index_select(3, right)
    return functional.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)
