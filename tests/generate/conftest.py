"""A differentiable generator and classifiers small enough to reason about: images are a fixed linear map of latents."""

import pytest
import torch
from torch import nn

from kintsugi.core.randomness import torch_rng
from kintsugi.generate.guidance import ConfidenceGuidance

CLASSES = tuple("abcdefgh")


class LinearGenerator:
    """Two predictions a decoding: the first is half way to grey."""

    classes = CLASSES

    def __init__(self, size=4, latent=24):
        self.map = torch.randn(latent, 3 * size * size, generator=torch_rng(0)) / latent**0.5
        self.size, self.latent = size, latent

    def fit(self, data, *, rng, run=None):
        return self

    def sample(self, n, condition, rng):
        return self.decode(self.init_state(condition, rng), condition)[-1]

    def init_state(self, condition, rng, image=None):
        n = len(condition)
        if image is None:
            latent = torch.randn(n, self.latent, generator=rng)
        else:
            latent = torch.logit(image.flatten(1), eps=1e-6) @ torch.linalg.pinv(self.map)
        return {
            "latent": latent.requires_grad_(),
            "condition": torch.zeros(n, self.latent, requires_grad=True),
            "latent_norm": latent.detach().norm(dim=1),
        }

    def decode(self, state, condition, *, last=1):
        image = ((state["latent"] + state["condition"]) @ self.map).sigmoid().unflatten(1, (3, self.size, self.size))
        return torch.stack([0.5 + (image - 0.5) * (k + 1) / last for k in range(last)])

    def project(self, state):
        state["latent"].mul_((state["latent_norm"] / state["latent"].norm(dim=1))[:, None])


class Classifier(nn.Module):
    """Linear on pixels behind batch norm, so that eval mode matters."""

    classes = CLASSES
    bounds = (0.0, 1.0)

    def __init__(self, seed, classes=8, size=4, sharp=1.0):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.weight = nn.Parameter(sharp * torch.randn(3 * size * size, classes, generator=torch_rng(seed)))

    def forward(self, image):
        return (self.norm(image) - 0.5).flatten(1) @ self.weight

    def features(self, image, at=None):
        return image.flatten(1)


@pytest.fixture
def setting():
    """A toy generator and an objective on two classifiers that differ."""
    return LinearGenerator(), ConfidenceGuidance(Classifier(1), Classifier(2))
