"""CutMix: paste a box of one image into another, and mix the labels by the areas.

Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
ICCV 2019 (arXiv 1905.04899). Equations 1 and 2: share ~ Beta(alpha, alpha); the box has sides W sqrt(1 - share) and
H sqrt(1 - share), its centre is uniform, it is cut at the border, and labels are mixed by the area that is left.
One box a batch, as in the authors' code; the partner is the next image of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kintsugi.core.card import Card
from kintsugi.repair.augment.mixing import Mixing

if TYPE_CHECKING:
    from torch import Tensor

    from kintsugi.core.batch import Batch

CARD = Card(
    name="cutmix",
    kind="augment",
    title="a box of another image, labels mixed by area",
    paper="Yun, Han, Oh, Chun, Choe, Yoo, CutMix, ICCV 2019, arXiv 1905.04899",
    card=0,
    code="clovaai/CutMix-PyTorch",
    status="proven",
)


class CutMix(Mixing):
    """Paste the same box of the neighbouring image into each image.

    ``label``, ``group`` and ``weight`` stay those of the image pasted into, even where the box is the larger part.

    Args:
        alpha: of Beta(alpha, alpha); 1 is uniform.
        target: ``mix`` or ``keep``.
        classes: number of classes, where the batch has hard labels and no data was set up.
    """

    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch:
        """A new batch, images ``[B, C, H, W]`` in 0..1."""
        height, width = batch.image.shape[-2:]
        side = torch.sqrt(1.0 - self._draw(batch.image, rng))
        centre = torch.rand(2, generator=rng, device=rng.device).to(batch.image.device)
        box = _inside(height, centre[0], side)[:, None] & _inside(width, centre[1], side)
        share = 1.0 - box.to(batch.image.dtype).mean()
        image = torch.where(box, batch.image.roll(1, 0), batch.image)
        return batch.replace(image=image, target=self._mixed(batch, share))


def _inside(length: int, centre: Tensor, side: Tensor) -> Tensor:
    """Which of ``length`` pixels lie in the box's extent along one axis, bool ``[length]``."""
    middle, half = torch.floor(centre * length), torch.floor(side * length) / 2.0
    pixel = torch.arange(length, device=centre.device)
    return (pixel >= torch.floor(middle - half)) & (pixel < torch.floor(middle + half))
