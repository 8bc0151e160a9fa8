"""What the conformance tests of training methods share: data with all that a method may need, and stand-ins."""

import copy
import inspect

import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadArgument
from kintsugi.core.registry import parameters
from kintsugi.data.imageset import ImageSet
from kintsugi.training.feed import Feed
from kintsugi.training.objective.erm import ERM

COUNT, CLASSES = 48, 3


class Net(nn.Module):
    """As small as a house model can be."""

    bounds = (0.0, 1.0)

    def __init__(self, seed=0, dtype=torch.float32):
        super().__init__()
        self.classes = ("a", "b", "c")
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.linear = nn.Linear(16, CLASSES)
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
        self.to(dtype)

    def features(self, image, at=None):
        return self.body(image)

    def forward(self, image):
        return self.linear(self.features(image))

    def head(self):
        return self.linear

    def copy(self):
        return copy.deepcopy(self)


def data():
    """Labelled, grouped, weighted, with soft labels and origins: whatever a card's ``needs`` may ask for."""
    rng = np.random.default_rng(0)
    label = np.arange(COUNT) % CLASSES
    image = rng.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    columns = {"group": label * 2 + (np.arange(COUNT) // CLASSES) % 2, "weight": rng.uniform(0.5, 1.5, COUNT)}
    made = ImageSet.from_arrays(image, label, ("a", "b", "c"), origin=["real", "generated"] * (COUNT // 2), **columns)
    return made.with_targets(rng.dirichlet(np.ones(CLASSES), COUNT))


def batch(dtype=torch.float32):
    """The first samples, as the loop would give them."""
    made: Batch = next(Feed(data()).walk(12))
    image = made.image.to(dtype)
    return made.replace(image=image, target=made.target.to(dtype), mask=image[:, 0] > 0.5)


# Collaborators that a constructor may require, by the parameter's name.
STAND_INS = {
    "teacher": lambda: Net(5),
    "objective": ERM,
    "inner": ERM,
}


def build(entry):
    """The method with its defaults, and stand-ins for required collaborators."""
    method = entry.load()
    needed = {name for name, p in parameters(method).items() if p.default is inspect.Parameter.empty}
    needed = {name for name in needed if parameters(method)[name].kind not in (2, 4)}
    return method(**{name: STAND_INS[name]() for name in needed})


def ready(entry):
    """The method, with the data looked at."""
    method = build(entry)
    if hasattr(method, "setup"):
        method.setup(data())
    return method


def check_bad_parameters_are_named(entry):
    """Each parameter with a default refuses a nonsensical value, by name; flags and free texts have no such value."""
    method = entry.load()
    given = {name: STAND_INS[name]() for name in parameters(method) if name in STAND_INS}
    tried = 0
    for name, parameter in parameters(method).items():
        if isinstance(parameter.default, bool) or name in given or name in ("seed", "column"):
            continue
        if isinstance(parameter.default, int | float):
            wrong = -1
        elif isinstance(parameter.default, str):
            wrong = "no such thing"
        else:
            continue
        with pytest.raises(BadArgument, match=name):
            method(**given, **{name: wrong})
        tried += 1
    return tried


def snapshot(thing):
    """A copy to compare with, of tensors in a batch or a model."""
    if isinstance(thing, Batch):
        names = ("image", "label", "index", "target", "weight", "group", "mask")
        return {name: getattr(thing, name).clone() for name in names}
    return {name: tensor.clone() for name, tensor in thing.state_dict().items()}


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


class GlobalStateUntouched:
    """Torch's and NumPy's global random states are the same after the block."""

    def __enter__(self):
        self.torch, self.numpy = torch.get_rng_state(), np.random.get_state()

    def __exit__(self, *error):
        if error[0] is None:
            assert torch.equal(self.torch, torch.get_rng_state())
            assert (self.numpy[1] == np.random.get_state()[1]).all()
            assert self.numpy[2] == np.random.get_state()[2]
