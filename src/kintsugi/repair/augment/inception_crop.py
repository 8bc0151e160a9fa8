"""Inception crop: cut out a random part of random area and shape, scale it to the old size, mirror half of them.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015 (arXiv 1409.4842), section 6: area uniform in a range (there
8% to 100%; 5% to 100% in patient distillation, card 57, from memory), aspect ratio log-uniform between 3/4 and 4/3.
All images are resampled at once, bilinearly, each with its own draw. Deviation: sides longer than the image are cut to
it instead of drawn again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.core.errors import require

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch

CARD = Card(
    name="inception_crop",
    kind="augment",
    title="random part of random area and shape, scaled to the old size",
    paper="Szegedy et al., Going Deeper with Convolutions, CVPR 2015, arXiv 1409.4842",
    card=57,
    code="google-research/big_vision",
    status="not proven",
)


@dataclass(frozen=True)
class InceptionCrop:
    """Zoom into a random part of each image; masks go along.

    Args:
        area: smallest share of the image's area, above 0 up to 1; the largest is all of it.
        aspect: largest ratio of the part's sides relative to the image's, from 1.
        flip: probability of a horizontal flip.

    Raises:
        BadArgument: a value is not allowed.
    """

    area: float = 0.05
    aspect: float = 4.0 / 3.0
    flip: float = 0.5

    def __post_init__(self) -> None:
        require(0.0 < self.area <= 1.0, "area", self.area, "a share above 0, up to 1")
        require(1.0 <= self.aspect < math.inf, "aspect", self.aspect, "a ratio from 1")
        require(0.0 <= self.flip <= 1.0, "flip", self.flip, "a probability from 0 to 1")

    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch:
        """A new batch, images ``[B, C, H, W]`` in 0..1."""
        image = batch.image
        draw = torch.rand(5, len(image), generator=rng, device=rng.device).to(image.device)
        area = self.area + (1.0 - self.area) * draw[0]
        ratio = torch.exp((2.0 * draw[1] - 1.0) * math.log(self.aspect))
        width, height = torch.sqrt(area * ratio).clamp(max=1.0), torch.sqrt(area / ratio).clamp(max=1.0)
        # In the coordinates of affine_grid the image spans -1..1, so a part of side s can be centred at +-(1 - s).
        theta = image.new_zeros(len(image), 2, 3)
        theta[:, 0, 0] = torch.where(draw[4] < self.flip, -width, width)
        theta[:, 1, 1] = height
        theta[:, 0, 2] = (2.0 * draw[2] - 1.0) * (1.0 - width)
        theta[:, 1, 2] = (2.0 * draw[3] - 1.0) * (1.0 - height)
        grid = functional.affine_grid(theta, list(image.shape), align_corners=False)
        cut = functional.grid_sample(image, grid, padding_mode="border", align_corners=False).clamp(0.0, 1.0)
        mask = batch.mask
        if mask is not None:
            whole = mask[:, None].to(image.dtype)
            mask = (
                functional.grid_sample(whole, grid, mode="nearest", padding_mode="border", align_corners=False)[:, 0]
                > 0.5
            )
        return batch.replace(image=cut, mask=mask)
