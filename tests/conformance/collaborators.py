"""Small stand-ins for what methods are given: each by the name of the parameter that takes it.

They keep the protocols of `kintsugi.core.kinds` and nothing more.
"""

import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.randomness import torch_rng


class SmallModel(nn.Module):
    """Two convolutions and a linear layer on images of any size, weights from a named stream."""

    bounds = (0.0, 1.0)

    def __init__(self, classes=("a", "b", "c"), seed=0, channels=3, width=8):
        super().__init__()
        self.classes = tuple(classes)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, stride=2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, len(self.classes))
        rng = torch_rng(seed, "stand-in")
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.randn(value.shape, generator=rng) / max(value[0].numel(), 4) ** 0.5)

    def features(self, image, at=None):
        hidden = functional.relu(self.norm(self.first(image * 2 - 1)))
        return functional.relu(self.second(hidden)).mean((2, 3))

    def forward(self, image):
        return self.head(self.drop(self.features(image)))


class SmallEncoder:
    """Pooled pixels."""

    name = fingerprint = "small-encoder"

    def __call__(self, image):
        return functional.adaptive_avg_pool2d(image, 4).flatten(1)


def make(name):
    """A fresh collaborator for a parameter of this name."""
    makers = {
        "model": lambda: SmallModel().eval(),
        "teacher": lambda: SmallModel(seed=1).eval(),
        "backbone": lambda: SmallModel(seed=2).eval(),
        "encoder": SmallEncoder,
    }
    if name not in makers:
        raise KeyError(f"no stand-in for the parameter {name!r}: add one to tests/conformance/collaborators.py")
    return makers[name]()


def build(entry, **options):
    """A method with its defaults; required collaborators are stand-ins."""
    import inspect

    from kintsugi.core.registry import parameters

    method = entry.load()
    needed = [n for n, p in parameters(method).items() if p.default is inspect.Parameter.empty and n not in options]
    return method(**{name: make(name) for name in needed}, **options)
