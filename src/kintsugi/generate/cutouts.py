"""Random cut-outs and noise before the classifiers, so that guidance cannot write adversarial noise into an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from kintsugi.core.errors import require


@dataclass(frozen=True)
class Cutouts:
    """Random square crops, brought to one size by adaptive average pooling, plus Gaussian noise (card 2, step 5).

    Args:
        count: crops of every image; 0 leaves the images as they are.
        size: side of the result; None keeps the images' short side. The smallest crop has this side too.
        noise: standard deviation of the noise, in units of the 0..1 range.
        pad: pixels of reflected border, so that images no larger than ``size`` are still shifted.
        power: sides are drawn as U(0, 1)^power between the smallest and the largest; below 1 favours large ones.

    The defaults are DiG-IN's for pictures much larger than the classifier's input; at 24 pixels ``Cutouts(2,
    noise=0.025, pad=1)`` is what the trial of ConfiG used.
    """

    count: int = 16
    size: int | None = None
    noise: float = 0.005
    pad: int = 0
    power: float = 0.3

    def __post_init__(self) -> None:
        require(self.count >= 0, "count", self.count, "0 or more")
        require(self.size is None or self.size >= 1, "size", self.size, "a side in pixels, or None")
        require(self.noise >= 0, "noise", self.noise, "0 or more")
        require(self.pad >= 0, "pad", self.pad, "0 or more")
        require(self.power > 0, "power", self.power, "a number above 0")

    def __call__(self, image: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """``[B, C, H, W]`` to ``[count * B, C, size, size]``, all images of a crop together, crop by crop."""
        if not self.count:
            return image
        size = min(image.shape[-2:]) if self.size is None else self.size
        padded = functional.pad(image, (self.pad,) * 4, mode="reflect") if self.pad else image
        height, width = padded.shape[-2:]
        largest = min(image.shape[-2:])  # without the border, which only lets crops move
        smallest = min(size, largest)
        views = []
        for _ in range(self.count):
            u, v, w = torch.rand(3, generator=rng, device=rng.device).tolist()
            side = int(u**self.power * (largest - smallest) + smallest)
            top, left = int(v * (height - side + 1)), int(w * (width - side + 1))
            crop = functional.adaptive_avg_pool2d(padded[..., top : top + side, left : left + side], size)
            views.append(crop + self.noise * torch.randn(crop.shape, generator=rng, device=rng.device).to(crop))
        return torch.cat(views)
