"""Learning from images without labels: to tell which way up each stands.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018: each
image is shown at 0, 90, 180 and 270 degrees, and a net is trained to say which.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
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
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from kintsugi.core.kinds import Model

TURNS = ("0", "90", "180", "270")


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


def learn_turns(
    model: Model, images: ImageSet, seed: int, *, epochs: int = 2, lr: float = 3e-3, batch_size: int = 64
) -> Any:
    """The features of a copy of a model after it learned the four turns of square images; labels are not looked at.

    Raises:
        BadData: the images are not square, or there are none.
    """
    pixels = np.concatenate([image for _, image in images.stream(1024)] or [np.zeros((0, 1, 1, 3), np.uint8)])
    if not len(pixels) or pixels.shape[1] != pixels.shape[2]:
        raise BadData(f"Images of shape {pixels.shape} cannot be turned:", "give square images.")
    turned = np.concatenate([np.rot90(pixels, k, axes=(1, 2)) for k in range(4)])
    turns = ImageSet.from_arrays(np.ascontiguousarray(turned), np.repeat(np.arange(4), len(pixels)), TURNS)
    encoder = Features(copy.deepcopy(model), "turns")
    with torch.no_grad():
        width = encoder.eval()(torch.zeros(1, 3, *pixels.shape[1:3])).shape[1]
    with seeded(torch_rng(seed, "head")):
        net = nn.Sequential(encoder, nn.Linear(width, 4))
    how = Training(epochs=epochs, lr=lr, batch_size=batch_size, device="cpu")
    fit(net, turns, ERM(), how=how, rng=seed)
    return encoder.eval()


def small_model(seed: int, *, width: int = 8) -> TorchModel:
    """A small net that has learned nothing."""
    return TorchModel(SmallCNN(4, width=width, rng=torch_rng(seed, "weights")), TURNS).eval()
