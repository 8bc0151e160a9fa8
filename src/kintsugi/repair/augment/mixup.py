"""Mixup: train on pixel-wise blends of two images, and on the same blend of their labels.

Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018 (arXiv 1710.09412), equation 1:
x~ = a x + (1 - a) x', y~ = a y + (1 - a) y'. As in patient distillation (card 57, step 2) there is one coefficient a
batch, a ~ Beta(alpha, alpha), a <- max(a, 1 - a), and the partner is the next image, x' = roll(x, 1). With
``target="keep"`` labels stay: there the teacher labels the mixed image, which is not the same as mixing its answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kintsugi.core.card import Card
from kintsugi.repair.augment.mixing import Mixing

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch

CARD = Card(
    name="mixup",
    kind="augment",
    title="blends of two images and of their labels",
    paper="Zhang, Cisse, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412",
    card=57,
    code="google-research/big_vision",
    status="proven",
)


class Mixup(Mixing):
    """Blend each image with its neighbour, by one coefficient a batch, at least half of itself.

    ``label``, ``group`` and ``weight`` stay those of the image that has the larger part.

    Args:
        alpha: of Beta(alpha, alpha); 1 is uniform.
        target: ``mix`` or ``keep``.
        classes: number of classes, where the batch has hard labels and no data was set up.
    """

    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch:
        """A new batch, images ``[B, C, H, W]`` in 0..1."""
        drawn = self._draw(batch.image, rng)
        share = torch.maximum(drawn, 1.0 - drawn)
        image = share * batch.image + (1.0 - share) * batch.image.roll(1, 0)
        return batch.replace(image=image.to(batch.image.dtype), target=self._mixed(batch, share))
