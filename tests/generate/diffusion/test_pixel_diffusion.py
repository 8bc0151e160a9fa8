"""Pixel diffusion learns digits, is differentiable to its start, resumes after a kill, and survives storage."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kintsugi.core.errors import BadArgument, BadCheckpoint, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.generate.diffusion.posthoc_ema import PowerEMA

SMALL = {"size": 8, "patch": 1, "widths": (16, 32), "embedding": 32, "device": "cpu"}
LABEL = torch.tensor([0, 1, 2, 0])


def digits(classes=3):
    found = load_digits()
    keep = found.target < classes
    return ImageSet.from_arrays((found.images[keep] * 255 / 16).astype(np.uint8), found.target[keep])


@pytest.fixture(scope="module")
def trained():
    return PixelDiffusion(**SMALL, steps=150, label_dropout=0.2, noise_mean=-0.5).fit(digits(), rng=torch_rng(0))


def test_samples_look_like_their_class(trained):
    data = digits()
    real = torch.from_numpy(data.source.image[..., 0] / 255.0).float().flatten(1)
    label = torch.arange(3).repeat(40)
    made = trained.sample(len(label), label, torch_rng(1))
    assert made.shape == (120, 3, 8, 8)
    assert made.min() >= 0
    assert made.max() <= 1
    nearest = data.labels[torch.cdist(made.mean(1).flatten(1), real).argmin(1).numpy()]
    assert (nearest == label.numpy()).mean() > 0.9
    assert made.std(0).mean() > 0.1  # and not all the same


def test_same_seed_same_images(trained):
    one, two, other = (trained.sample(4, LABEL, torch_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("options", [{}, {"method": "heun"}, {"guidance_scale": 2.0}])
def test_gradients_through_the_whole_path(trained, options):
    """In float64 against finite differences along random directions, with and without checkpointing."""
    import copy
    import dataclasses

    model = copy.deepcopy(trained)
    made = dataclasses.replace(trained, **options, sampling_steps=4)
    made.classes, made._denoiser = model.classes, model._denoiser.double()
    state = made.init_state(LABEL, torch_rng(0))
    weights = torch.randn(2, 4, 3, 8, 8, generator=torch_rng(8), dtype=torch.float64)
    names = [name for name, tensor in state.items() if tensor.requires_grad]
    assert ("null" in names) == ("guidance_scale" in options)

    def value(at):
        with torch.no_grad():
            return (made.decode(at, LABEL, last=2) * weights).sum()

    found = []
    for flag in (False, True):
        made.checkpointed = flag
        loss = (made.decode(state, LABEL, last=2) * weights).sum()
        found.append(torch.autograd.grad(loss, [state[name] for name in names]))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again, rtol=1e-10, atol=1e-12)
    for name, gradient in zip(names, found[0], strict=True):
        way = torch.randn(gradient.shape, generator=torch_rng(9), dtype=torch.float64)
        step = 1e-6
        up, down = ({**state, name: state[name].detach() + sign * step * way} for sign in (1, -1))
        numeric = (value(up) - value(down)) / (2 * step)
        assert (gradient * way).sum().item() == pytest.approx(numeric.item(), rel=1e-4)
        assert gradient.abs().sum() > 0


def test_each_step_has_its_own_condition(trained):
    state = trained.init_state(LABEL, torch_rng(0))
    plain = trained.decode(state, LABEL, last=8).detach()
    with torch.no_grad():
        state["condition"][:, 5] += 1.0
    changed = trained.decode(state, LABEL, last=8).detach()
    assert torch.equal(plain[:5], changed[:5])
    assert not torch.equal(plain[5], changed[5])


def test_projection_keeps_norms(trained):
    state = trained.init_state(LABEL, torch_rng(0))
    with torch.no_grad():
        state["latent"].mul_(1.7)
    trained.project(state)
    torch.testing.assert_close(state["latent"].flatten(1).norm(dim=1), state["latent_norm"])


def test_real_images_invert_and_are_reconstructed(trained):
    data = digits()
    image = torch.from_numpy(data.source.image[:4, ..., 0] / 255.0).float()[:, None].expand(-1, 3, -1, -1)
    label = torch.tensor(data.labels[:4])
    state = trained.init_state(label, torch_rng(0), image)
    assert state["latent"].is_leaf
    back = trained.decode(state, label)[-1].detach()
    assert (back - image).abs().mean() < 0.01
    near, far = (trained.reconstruct(image, label, torch_rng(0), skip=k) for k in (7, 0))
    assert (near - image).abs().mean() < 0.05
    assert (far - image).abs().mean() > 2 * (near - image).abs().mean()


def test_save_and_load(trained, tmp_path):
    trained.save(tmp_path)
    again = PixelDiffusion.load(tmp_path, device="cpu")
    assert again.classes == trained.classes
    assert torch.equal(trained.sample(4, LABEL, torch_rng(3)), again.sample(4, LABEL, torch_rng(3)))
    (tmp_path / "generator.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="does not hold the weights"):
        PixelDiffusion.load(tmp_path)
    (tmp_path / "generator.json").write_text('{"name": "other"}')
    with pytest.raises(BadCheckpoint, match="not of a pixel_diffusion"):
        PixelDiffusion.load(tmp_path)
    with pytest.raises(BadCheckpoint, match="does not exist"):
        PixelDiffusion.load(tmp_path / "nowhere")


def test_averages_of_other_lengths_after_training(tmp_path):
    made = PixelDiffusion(**SMALL, net="mp", steps=8, lr=0.01)
    ema = PowerEMA(every=2)
    made.fit(digits(), rng=torch_rng(0), hooks=[ema], run=Run(tmp_path))
    assert len(ema.snapshots) == 8
    kept = made.denoiser.state_dict()
    for name, value in ema.average(0.10).items():  # the length the loop itself averaged by
        torch.testing.assert_close(value, kept[name], rtol=1e-3, atol=1e-4)
    again = PowerEMA(every=2)
    again.load(ema.state())
    for name, value in ema.average(0.15).items():
        assert torch.equal(value, again.average(0.15)[name])


class Killed(BaseException):
    """Stands in for the kill."""


def test_interrupted_training_resumes_to_the_same_bits(tmp_path):
    class Kill:
        def on_step(self, loop):
            if armed and loop.step == 8:
                raise Killed

    def fit(run):
        made = PixelDiffusion(**SMALL, steps=12, checkpoint_every=5)
        return made.fit(digits(), rng=torch_rng(7), run=run, hooks=[Kill()]).denoiser.state_dict()

    armed = False
    whole = fit(None)
    armed = True
    with pytest.raises(Killed):
        fit(Run(tmp_path))
    armed = False
    again = fit(Run(tmp_path))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_pixel_diffusion import SMALL, Run, PixelDiffusion, digits, torch_rng
import torch; torch.set_num_threads(1)
made = PixelDiffusion(**SMALL, steps=24, checkpoint_every=5)
made.fit(digits(), rng=torch_rng(7), run=Run(sys.argv[1]))
made.save(sys.argv[2])
"""


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_bits(tmp_path):
    from pathlib import Path

    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))

    def start(run, out):
        return subprocess.Popen([sys.executable, str(script), str(tmp_path / run), str(tmp_path / out)])

    assert start("whole", "a").wait() == 0
    process = start("killed", "b")
    while not (tmp_path / "killed" / "checkpoint.safetensors").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start("killed", "b").wait() == 0
    one, two = ((tmp_path / name / "generator.safetensors").read_bytes() for name in ("a", "b"))
    assert one == two


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 25},
        {"net": "big"},
        {"widths": (20, 30)},
        {"blocks": (1,)},
        {"embedding": 3},
        {"method": "plms"},
        {"sigma_min": 50.0},
        {"label_dropout": 1.0},
        {"guidance_scale": 2.0, "label_dropout": 0.0},
        {"inversion": 0},
        {"steps": 0},
        {"lr": 0.0},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(BadArgument, match=next(iter(bad))):
        PixelDiffusion(**bad)


def test_untrained_says_so():
    with pytest.raises(BadData, match="not trained"):
        PixelDiffusion().sample(1, LABEL[:1], torch_rng(0))
