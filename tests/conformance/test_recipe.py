"""What every recipe keeps: it repeats, mends the model it is given, and leaves everything else alone."""

from functools import partial

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.core.registry import of_kind, parameters
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN
from kintsugi.training.fit import fit
from kintsugi.training.settings import Training

CLASSES = ("dark", "light")
SMALL = {"config": {"images": 2, "steps": 1}, "continuation": {"steps": 3, "finest": 0.05}}


def data():
    image = np.tile(np.arange(12, dtype=np.uint8)[:, None, None, None] * 20, (1, 8, 8, 3))
    return ImageSet.from_arrays(image, [0] * 6 + [1] * 6, CLASSES)


def net(seed):
    return TorchModel(SmallCNN(2, width=4, rng=torch_rng(seed)), CLASSES)


@pytest.fixture(scope="module")
def collaborators():
    """By the name of the parameter that takes them."""
    generator = PixelDiffusion(
        size=8, patch=1, widths=(8, 16), embedding=8, steps=1, sampling_steps=2, device="cpu"
    ).fit(data(), rng=torch_rng(0))
    return {"teacher": net(1).eval(), "generator": generator}


@pytest.fixture(params=of_kind("recipe"), ids=lambda entry: entry.card.name)
def recipe(request, collaborators):
    method = request.param.load()
    given = {name: thing for name, thing in collaborators.items() if name in parameters(method)}
    needed = {name for name, p in parameters(method).items() if p.default is p.empty}
    assert needed <= set(given), f"the test has no {needed - set(given)} to give"
    return partial(method, **given, **SMALL.get(request.param.card.name, {}))


def mended(recipe, run, seed=0):
    model = net(2)
    settings = Training(steps=2, batch_size=4, device="cpu")
    done = recipe()(model, data(), partial(fit, how=settings), seed, run)
    assert isinstance(done, Run)
    return model


def test_repeats_in_memory_and_in_a_folder(recipe, tmp_path):
    state = torch.get_rng_state()
    one, two = mended(recipe, Run(None)), mended(recipe, Run(tmp_path))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert torch.equal(torch.get_rng_state(), state)
    kept = Run(tmp_path).load_weights()
    assert all(torch.equal(value.cpu(), kept[name]) for name, value in two.state_dict().items())
    assert Run(tmp_path).config


def test_finished_work_is_loaded_and_not_done_again(recipe, tmp_path):
    first = mended(recipe, Run(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.safetensors")}
    again = mended(recipe, Run(tmp_path))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_changes_the_model(recipe):
    start = net(2).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in mended(recipe, Run(None)).state_dict().items())


def test_leaves_collaborators_alone(recipe, collaborators):
    teacher = {name: value.clone() for name, value in collaborators["teacher"].state_dict().items()}
    mended(recipe, Run(None))
    assert all(torch.equal(value, teacher[name]) for name, value in collaborators["teacher"].state_dict().items())


def test_a_black_box_is_refused(recipe):
    with pytest.raises(BadArgument, match="torch model"):
        recipe()(object(), data(), fit, 0, Run(None))
