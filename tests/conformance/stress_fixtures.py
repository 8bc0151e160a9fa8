"""What conformance tests around models share: small real data, models, collaborators by parameter name."""

import contextlib
import inspect

import numpy as np
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.randomness import torch_rng
from kintsugi.core.registry import parameters
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN

CLASSES = tuple(map(str, range(10)))


def digits(n=40, start=0):
    """Real 8 x 8 digits."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    image = np.rint(raw.images[start : start + n] / 16 * 255).astype(np.uint8)
    return ImageSet.from_arrays(image, raw.target[start : start + n], CLASSES)


def images(n=6, side=12, channels=3, dtype=torch.float32, seed=0):
    """Smooth random images in 0..1 with black and white parts."""
    coarse = torch.rand(n, channels, 4, 4, generator=torch_rng(seed, "images")) * 1.6 - 0.3
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").clamp(0, 1).to(dtype)


def model(seed=0, classes=CLASSES, width=4):
    """A small net with random weights and batch statistics that are not the initial ones."""
    net = SmallCNN(len(classes), width=width, rng=torch_rng(seed, "weights"))
    net.train()
    with torch.no_grad():
        for step in range(3):
            net(images(16, seed=step))
    return TorchModel(net.eval(), classes)


def batch(n=6, side=12, seed=0, classes=10):
    """Images with labels drawn at random."""
    label = torch.randint(classes, (n,), generator=torch_rng(seed, "label"))
    return Batch(images(n, side, seed=seed), label, torch.arange(n))


COLLABORATORS = {"model": model, "backbone": model}


def build(entry, **options):
    """A method by its defaults, required collaborators made by name."""
    method = entry.load()
    for name, parameter in parameters(method).items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            assert name in COLLABORATORS, f"{entry.card.name} needs {name!r}: add it to the collaborators"
            options[name] = COLLABORATORS[name]()
    return method(**options)


@contextlib.contextmanager
def global_state_kept():
    """The block may neither draw from nor seed the global generators."""
    before, legacy = torch.get_rng_state(), np.random.get_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "torch's global random state was touched"
    assert all(np.array_equal(a, b) for a, b in zip(legacy, np.random.get_state(), strict=True))


@contextlib.contextmanager
def model_kept(module):
    """The block leaves weights, buffers, modes and gradients of a module as they were."""
    state = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    wants = [weight.requires_grad for weight in module.parameters()]
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
    yield
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module.modules()] == modes
    assert [weight.requires_grad for weight in module.parameters()] == wants
    assert all(weight.grad is None for weight in module.parameters())
    assert [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()] == hooks
