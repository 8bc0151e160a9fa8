"""Small stand-ins for a house model: the few words that training and repair rely on."""

import copy

import numpy as np
import torch
from torch import nn

from kintsugi.data.imageset import ImageSet


class SmallNet(nn.Module):
    """Conv, batch norm, dropout, linear; weights from a generator of its own."""

    bounds = (0.0, 1.0)

    def __init__(self, classes=("0", "1"), width=4, dropout=0.1, seed=0):
        super().__init__()
        self.classes = tuple(classes)
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(4 * width, len(self.classes))
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.2)

    def features(self, image, at=None):
        return self.body(image)

    def forward(self, image):
        return self.linear(self.dropout(self.features(image)))

    def head(self):
        return self.linear

    def copy(self):
        return copy.deepcopy(self)


def two_classes(count=64, side=8, seed=0, **columns):
    """Dark and bright noise images, labelled 0 and 1."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    image = rng.integers(0, 160, (count, side, side, 3)) + 80 * label[:, None, None, None]
    return ImageSet.from_arrays(image.astype(np.uint8), label, ("0", "1"), **columns)


def weights(model):
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])
