"""Learning from images without labels: two views of an image lie together, apart from those of all others (SimCLR)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kintsugi.core.errors import BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.encoder import weights_fingerprint
from kintsugi.models.seeded import seeded
from kintsugi.models.small import SmallCNN
from kintsugi.training.fit import fit
from kintsugi.training.objective.simclr import SimCLR
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from kintsugi.core.kinds import Model

PROJECTED = 64  # numbers that views are compared by


class Features(nn.Module):
    """A model's features as an encoder.

    Args:
        model: with ``features``.
        name: for reports.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name
        self.preprocess = getattr(model, "preprocess", None)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return weights_fingerprint(self.model)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, D]``."""
        return self.model.features(image)


def learn_views(
    model: Model,
    images: ImageSet,
    seed: int,
    *,
    epochs: int = 30,
    lr: float = 2e-3,
    batch_size: int = 256,
    device: str = "auto",
) -> Any:
    """The features of a copy of a model after SimCLR on images of one size; labels are not looked at.

    The projection (two layers, thrown away afterwards) and the optimiser are those of
    :func:`kintsugi.training.self_supervised.train_encoder`, which learns with a net of its own.

    Raises:
        BadData: there are fewer than two images.
    """
    if len(images) < 2:
        raise BadData(f"There are {len(images)} images:", "a net learns to tell images apart, so give two or more.")
    encoder = Features(copy.deepcopy(model), "views")
    pixels = images.source.read(int(images.rows[0]))
    with torch.no_grad():
        width = encoder.eval()(torch.zeros(1, 3, *pixels.shape[:2])).shape[1]
    with seeded(torch_rng(seed, "head")):
        head = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, PROJECTED))
    how = Training(
        epochs=epochs,
        lr=lr,
        batch_size=min(batch_size, len(images)),
        weight_decay=1e-4,
        warmup=10,
        device=device,
    )
    fit(nn.Sequential(encoder, head), images, SimCLR(), how=how, rng=seed)
    return encoder.cpu().eval()


def small_model(seed: int, *, width: int = 32) -> TorchModel:
    """A small net that has learned nothing."""
    return TorchModel(SmallCNN(2, width=width, rng=torch_rng(seed, "weights")), ("0", "1")).eval()
