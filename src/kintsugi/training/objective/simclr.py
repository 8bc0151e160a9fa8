"""Self-supervision by agreement: two views of an image should lie together, and apart from those of all others.

Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020
(arXiv 2002.05709). Of a batch of N images two views each are drawn; for the 2N projections z, scaled to length 1, and a
pair (i, j) of one image (equation 1, NT-Xent)

    loss(i, j) = -log( exp(z_i.z_j / t) / sum over k != i of exp(z_i.z_k / t) ),

averaged over both orders of all pairs. No label is looked at.

A view is a random crop of ``scale`` of the area with another shape (3:4 to 4:3) brought back to the image's size, a
mirror image in half of the cases, and in four of five a change of brightness, contrast and saturation, each by a factor
of 1 - 0.8 s to 1 + 0.8 s (s is ``jitter``), then grey in one of five. Deviations: the colour's hue is not turned, since
turning it costs more than the rest of a view together, and nothing is blurred, as in the paper's own setting for small
images (appendix B.9); the projection head is the end of the model, so that the objective has no weights of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.training.objective.base import Loss, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from kintsugi.core.batch import Batch

CARD = Card(
    name="simclr",
    kind="objective",
    title="agreement of two views of an image against all other images, without labels",
    paper="Chen, Kornblith, Norouzi, Hinton, A Simple Framework for Contrastive Learning, ICML 2020, arXiv 2002.05709",
    card=111,
    code="https://github.com/google-research/simclr",
    status="not proven",
    settings=(("fashion", "not proven"),),
)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class SimCLR(Objective):
    """NT-Xent of two views; the model's output is taken for the projection.

    Args:
        temperature: t, above 0.
        scale: smallest share of the area that a crop keeps, above 0, to 1.
        jitter: strength s of the colour changes, from 0 to 1.
        flip: probability of a mirror image, 0 to 1.
        grey: probability of a view without colour, 0 to 1.

    Raises:
        BadArgument: a value is outside its range.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        scale: float = 0.2,
        jitter: float = 0.5,
        flip: float = 0.5,
        grey: float = 0.2,
    ) -> None:
        super().__init__()
        require(temperature > 0.0, "temperature", temperature, "a number above 0")
        require(0.0 < scale <= 1.0, "scale", scale, "a share above 0, to 1")
        require(0.0 <= jitter <= 1.0, "jitter", jitter, "a strength from 0 to 1")
        require(0.0 <= flip <= 1.0, "flip", flip, "a probability from 0 to 1")
        require(0.0 <= grey <= 1.0, "grey", grey, "a probability from 0 to 1")
        self.temperature, self.scale, self.jitter, self.flip, self.grey = temperature, scale, jitter, flip, grey

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss of two views of ``batch.image``. Part: ``agreement``, the mean cosine of the pairs."""
        if len(batch) < 2:
            raise BadData("A batch of one image has nothing to be told apart from.", "Give two images or more.")
        views = torch.cat([self.view(batch.image), self.view(batch.image)])
        projected = functional.normalize(model(views).float().flatten(1), dim=1)
        total = nt_xent(projected, self.temperature)
        first, second = projected.detach().chunk(2)
        return Loss(total, {"agreement": (first * second).sum(1).mean()})

    def view(self, image: Tensor) -> Tensor:
        """A view of each image ``[B, C, H, W]`` in 0..1, drawn from the objective's own stream."""
        return self._coloured(self._cropped(image)).clamp(0.0, 1.0)

    def _drawn(self, image: Tensor, *shape: int) -> Tensor:
        return torch.rand(len(image), *shape, generator=self.rng, device=self.rng.device).to(image)

    def _cropped(self, image: Tensor) -> Tensor:
        """Crop, shape and mirror image in one resampling."""
        share, shape, at = self._drawn(image), self._drawn(image), self._drawn(image, 2)
        area = self.scale + (1.0 - self.scale) * share
        aspect = torch.exp((2.0 * shape - 1.0) * torch.log(torch.tensor(4.0 / 3.0)))
        wide, high = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
        mirror = torch.where(self._drawn(image) < self.flip, -1.0, 1.0).to(image)
        change = image.new_zeros(len(image), 2, 3)
        change[:, 0, 0], change[:, 1, 1] = wide * mirror, high
        change[:, 0, 2], change[:, 1, 2] = (2 * at[:, 0] - 1) * (1 - wide), (2 * at[:, 1] - 1) * (1 - high)
        grid = functional.affine_grid(change, list(image.shape), align_corners=False)
        return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)

    def _coloured(self, image: Tensor) -> Tensor:
        """Brightness, contrast and saturation in one go: each is a weighted mean with black, the mean, or grey."""
        drawn = self._drawn(image, 5)
        changed = (drawn[:, 3] < 0.8).to(image)
        factor = 1.0 + changed[:, None] * 0.8 * self.jitter * (2.0 * drawn[:, :3] - 1.0)
        bright, contrast, colour = (factor[:, i, None, None, None] for i in range(3))
        colour = torch.where(drawn[:, 4, None, None, None] < self.grey, 0.0, colour)
        if image.shape[1] == len(LUMA):
            luma = (image * image.new_tensor(LUMA).view(1, -1, 1, 1)).sum(1, keepdim=True)
            image = luma + colour * (image - luma)
        else:
            luma = image.mean(1, keepdim=True)
        mean = luma.mean((2, 3), keepdim=True)
        return bright * (mean + contrast * (image - mean))


def nt_xent(projected: Tensor, temperature: float) -> Tensor:
    """Equation 1 over all pairs: unit vectors ``[2N, D]``, row i and row N + i being views of one image."""
    total = len(projected)
    alike = projected @ projected.T / temperature
    alike = alike.masked_fill(torch.eye(total, dtype=torch.bool, device=alike.device), -torch.inf)
    partner = torch.arange(total, device=alike.device).roll(total // 2)
    return functional.cross_entropy(alike, partner)
