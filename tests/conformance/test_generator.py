"""What every generator keeps: its contract with guidance, with randomness and with storage."""

import numpy as np
import pytest
import torch

from kintsugi.core.errors import KintsugiError
from kintsugi.core.kinds import DifferentiableGenerator, Generator
from kintsugi.core.randomness import torch_rng
from kintsugi.core.registry import find, of_kind, parameters
from kintsugi.data.imageset import ImageSet

CLASSES = ("dark", "light")
LABEL = torch.tensor([0, 1, 1])

# Options that make a generator small enough for a test.
SMALL = {
    "pixel_diffusion": {
        "size": 8, "patch": 1, "widths": (8, 16), "embedding": 8, "steps": 2, "sampling_steps": 3, "device": "cpu",
    },
}  # fmt: skip
# A generator that needs a foreign pretrained model is built by the test of its own file.
FOREIGN = {"stable_diffusion": "tests/generate/diffusion/test_stable_diffusion.py"}


def made(entry):
    if entry.card.name in FOREIGN:
        pytest.skip(f"needs a pretrained pipeline; see {FOREIGN[entry.card.name]}")
    return entry.load()(**SMALL.get(entry.card.name, {}))


def data():
    image = np.zeros((12, 8, 8, 3), np.uint8)
    image[6:] = 200
    return ImageSet.from_arrays(image, [0] * 6 + [1] * 6, CLASSES)


@pytest.fixture(params=of_kind("generator"), ids=lambda entry: entry.card.name)
def entry(request):
    return request.param


@pytest.fixture
def trained(entry):
    generator = made(entry)
    generator.fit(data(), rng=torch_rng(0))
    return generator


def test_defaults_build(entry):
    if all(p.default is not p.empty for p in parameters(entry.load()).values()):
        assert isinstance(entry.load()(), Generator)
    else:
        made(entry)


def test_images_are_in_range_and_repeat(trained):
    assert trained.classes == CLASSES
    state, label = torch.get_rng_state(), LABEL.clone()
    one, two = (trained.sample(3, label, torch_rng(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, trained.sample(3, label, torch_rng(2)))
    assert one.shape[:2] == (3, 3)
    assert one.dtype == torch.float32
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(label, LABEL)
    assert torch.equal(torch.get_rng_state(), state)


def test_fitting_repeats_and_leaves_global_randomness(entry):
    state, images = torch.get_rng_state(), []
    for _ in range(2):
        generator = made(entry)
        generator.fit(data(), rng=torch_rng(7))
        images.append(generator.sample(3, LABEL, torch_rng(1)))
    assert torch.equal(*images)
    assert torch.equal(torch.get_rng_state(), state)


def test_sampling_path_is_differentiable(trained):
    if not isinstance(trained, DifferentiableGenerator):
        pytest.skip("samples only; it claims no differentiable path")
    state = trained.init_state(LABEL, torch_rng(0))
    assert all(tensor.is_leaf and len(tensor) == 3 for tensor in state.values())
    predicted = trained.decode(state, LABEL, last=2)
    assert predicted.shape[:2] == (2, 3)
    torch.testing.assert_close(predicted[-1], trained.decode(state, LABEL)[-1])
    free = [tensor for tensor in state.values() if tensor.requires_grad]
    assert free
    gradients = torch.autograd.grad(predicted.sum(), free, allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    before = {name: tensor.detach().clone() for name, tensor in state.items()}
    trained.project(state)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor.detach(), before[name])


def test_wrong_counts_are_refused_by_name(trained):
    with pytest.raises(KintsugiError, match="condition"):
        trained.sample(2, LABEL, torch_rng(0))


def test_the_room_has_its_generators():
    assert find("pixel_diffusion", "generator").card.card == 80
    assert {entry.card.name for entry in of_kind("generator")} >= {"pixel_diffusion", "stable_diffusion"}
