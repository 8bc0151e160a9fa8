"""Encoders that learned from images without labels, for trials: to tell which way up each image stands.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018: each
image is shown at 0, 90, 180 and 270 degrees, and a net is trained to say which.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kintsugi.core.randomness import torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.encoder import ModelEncoder
from kintsugi.models.small import SmallCNN
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

TURNS = ("0", "90", "180", "270")


def rotation_encoder(
    data: ImageSet, seed: int, *, steps: int = 200, width: int = 8, lr: float = 3e-3, batch_size: int = 64
) -> ModelEncoder:
    """A small net's features after learning the four turns of square images; labels are not looked at."""
    model = _net(seed, width)
    pixels = np.concatenate([image for _, image in data.stream(1024)])
    turned = np.concatenate([np.rot90(pixels, k, axes=(1, 2)) for k in range(4)])
    turns = ImageSet.from_arrays(np.ascontiguousarray(turned), np.repeat(np.arange(4), len(pixels)), TURNS)
    fit(model, turns, ERM(), how=Training(steps=steps, lr=lr, batch_size=batch_size, device="cpu"), rng=seed)
    return ModelEncoder(model, name="rotation")


def random_encoder(seed: int, *, width: int = 8) -> ModelEncoder:
    """The same net before it learned anything."""
    return ModelEncoder(_net(seed, width).eval(), name="random")


def _net(seed: int, width: int) -> Any:
    return TorchModel(SmallCNN(4, width=width, rng=torch_rng(seed, "weights")), TURNS)
