"""Random shift and flip: pad the image, cut out a window of the old size at a random place, mirror half of them.

The augmentation of small images since He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016
(arXiv 1512.03385), section 4.2: 4 pixels of padding at 32 x 32, horizontal flip. Every image has its own draw, and all
are cut by one gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, one_of, require

if TYPE_CHECKING:
    from torch import Tensor

    from kintsugi.core.batch import Batch

CARD = Card(
    name="crop_flip",
    kind="augment",
    title="random shift by padding and cropping, random mirror image",
    paper="He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385",
    card=57,
    status="proven",
)


@dataclass(frozen=True)
class CropFlip:
    """Shift each image by up to ``pad`` pixels either way, and mirror it with probability ``flip``; masks go along.

    Args:
        pad: largest shift in pixels, from 0.
        flip: probability of a horizontal flip; 0 for digits, letters and whatever is not its mirror image.
        fill: ``zero`` (black) or ``reflect`` (needs images larger than ``pad``) for what comes in from outside.

    Raises:
        BadArgument: a value is not allowed.
    """

    pad: int = 4
    flip: float = 0.5
    fill: str = "zero"

    def __post_init__(self) -> None:
        require(isinstance(self.pad, int) and self.pad >= 0, "pad", self.pad, "a whole number from 0")
        require(0.0 <= self.flip <= 1.0, "flip", self.flip, "a probability from 0 to 1")
        one_of("fill", self.fill, ("zero", "reflect"))

    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch:
        """A new batch, images ``[B, C, H, W]`` in 0..1."""
        count, _, height, width = batch.image.shape
        if self.fill == "reflect" and min(height, width) <= self.pad:
            raise BadArgument.of("pad", self.pad, f"less than the image's side of {min(height, width)}")
        device = batch.image.device
        shift = torch.randint(0, 2 * self.pad + 1, (2, count, 1), generator=rng, device=rng.device).to(device)
        mirror = (torch.rand(count, 1, generator=rng, device=rng.device) < self.flip).to(device)
        row = torch.arange(height, device=device) + shift[0]
        column = torch.arange(width, device=device).expand(count, width)
        column = torch.where(mirror, width - 1 - column, column) + shift[1]
        place = row[:, :, None] * (width + 2 * self.pad) + column[:, None, :]
        mask = batch.mask
        if mask is not None:
            mask = self._cut(mask[:, None].to(batch.image.dtype), place)[:, 0] > 0.5
        return batch.replace(image=self._cut(batch.image, place), mask=mask)

    def _cut(self, image: Tensor, place: Tensor) -> Tensor:
        """Pick the pixels at ``place`` (``[B, H, W]``, in the padded image laid out flat)."""
        mode = "constant" if self.fill == "zero" else "reflect"
        padded = functional.pad(image, [self.pad] * 4, mode=mode).flatten(2)
        index = place.flatten(1)[:, None].expand(-1, image.shape[1], -1)
        return padded.gather(2, index).view_as(image)
