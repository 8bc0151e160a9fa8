"""Gaussian data, whose ideal denoiser is linear, show every sampler, hook and gradient in closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.generate.diffusion.samplers import (
    classifier_free,
    classifier_guidance,
    invert,
    karras_levels,
    sample,
)

MEAN, STD = 0.3, 0.5


def ideal(levels, mean=MEAN, std=STD):
    """Posterior mean of N(mean, std^2) seen through noise."""
    return lambda x, step: (std**2 * x + float(levels[step]) ** 2 * mean) / (std**2 + float(levels[step]) ** 2)


def exact(x, sigma, mean=MEAN, std=STD):
    """Where the ODE carries x from noise level sigma to 0: quantiles stay quantiles."""
    return mean + std * (x - mean) / (std**2 + sigma**2) ** 0.5


def start(n=512):
    return torch.randn(n, 1, generator=torch_rng(0), dtype=torch.float64)


def test_levels():
    levels = karras_levels(18)
    assert levels[0] == pytest.approx(80)
    assert levels[-2] == pytest.approx(0.002)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_methods_converge_to_the_known_answer_at_their_order(method, order):
    errors = []
    for steps in (16, 32, 64):
        levels = karras_levels(steps, sigma_max=20.0, sigma_min=0.02)
        x = start() * 20
        made = sample(ideal(levels), x, levels, method=method)[-1]
        errors.append((made - exact(x, 20.0)).abs().max().item())
    assert errors[2] < {1: 0.05, 2: 2e-3}[order]
    assert errors[0] / errors[1] > 0.8 * 2**order
    assert errors[1] / errors[2] > 0.8 * 2**order


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_noise_keeps_the_distribution(eta):
    levels = karras_levels(200, sigma_max=20.0, sigma_min=0.01)
    x = MEAN + (STD**2 + 400) ** 0.5 * start(20_000)
    made = sample(ideal(levels), x, levels, eta=eta, rng=torch_rng(1))[-1]
    assert made.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert made.std().item() == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_agrees_with_diffusers_ddim(eta):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(10)
    alpha = theirs.alphas_cumprod[theirs.timesteps].double()
    levels = torch.cat([(1 / alpha - 1).sqrt(), torch.zeros(1)])
    noise = torch.randn(10, 4, 3, 2, 2, generator=torch_rng(3), dtype=torch.float64)
    z = torch.randn(4, 3, 2, 2, generator=torch_rng(4), dtype=torch.float64)
    denoise = ideal(levels)
    ours = sample(denoise, z / alpha[0].sqrt(), levels, last=10, eta=eta, rng=_Replay(noise))
    for number, t in enumerate(theirs.timesteps):
        x = z / alpha[number].sqrt()
        eps = (x - denoise(x, number)) / levels[number]
        step = theirs.step(eps, int(t), z, eta=eta, variance_noise=noise[number])
        torch.testing.assert_close(ours[number], step.pred_original_sample, rtol=1e-5, atol=1e-6)
        z = step.prev_sample


class _Replay(torch.Generator):
    """A generator whose draws are told beforehand: randn with it is patched below."""

    def __new__(cls, noise):
        made = super().__new__(cls)
        made.noise = list(noise)
        return made

    def __init__(self, noise):
        pass


@pytest.fixture(autouse=True)
def _replayed(monkeypatch):
    draw = torch.randn

    def randn(*args, generator=None, **kwargs):
        return generator.noise.pop(0) if isinstance(generator, _Replay) else draw(*args, generator=generator, **kwargs)

    monkeypatch.setattr(torch, "randn", randn)


def test_guidance_hook_samples_the_posterior():
    # log p(y | x_noisy) of an observation y = clean + N(0, r^2): its posterior is again Gaussian, in closed form
    r, y = 0.4, 1.2
    levels = karras_levels(256, sigma_max=20.0, sigma_min=0.01)

    def log_prob(x, level):
        shrink = STD**2 / (STD**2 + level**2)
        mean, var = MEAN + shrink * (x - MEAN), STD**2 * (1 - shrink) + r**2
        return (-((y - mean) ** 2) / (2 * var)).flatten(1).sum(1)

    x = (STD**2 + 400) ** 0.5 * start(4000)
    made = sample(ideal(levels), x, levels, method="heun", hook=classifier_guidance(log_prob))[-1]
    var = 1 / (1 / STD**2 + 1 / r**2)
    assert made.mean().item() == pytest.approx(var * (MEAN / STD**2 + y / r**2), abs=0.02)
    assert made.std().item() == pytest.approx(var**0.5, rel=0.03)
    unguided = sample(ideal(levels), x, levels, hook=classifier_guidance(log_prob, scale=0.0))[-1]
    torch.testing.assert_close(unguided, sample(ideal(levels), x, levels)[-1])


def test_guided_chain_differentiates_through_the_hook():
    levels = karras_levels(3, sigma_max=2.0, sigma_min=0.1)
    hook = classifier_guidance(lambda x, level: -(x**4).flatten(1).sum(1), scale=0.05)
    x = start(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sample(ideal(levels), x, levels, hook=hook), x)


def test_classifier_free_guidance_mixes():
    assert classifier_free(torch.tensor(2.0), torch.tensor(1.0), 3.0) == 4


class Small(torch.nn.Module):
    """A denoiser with a per-step condition, smooth and not linear."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels
        self.mix = torch.randn(4, 4, generator=torch_rng(5), dtype=torch.float64) / 2

    def __call__(self, delta):
        return lambda x, step: torch.tanh(x @ self.mix + delta[:, step]) * 0.9 + 0.1 * x


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_chain_gradients_against_finite_differences(method):
    levels = karras_levels(4, sigma_max=5.0, sigma_min=0.1)
    model = Small(levels)
    x = torch.randn(2, 4, generator=torch_rng(6), dtype=torch.float64, requires_grad=True)
    delta = torch.randn(2, 5, 4, generator=torch_rng(7), dtype=torch.float64).mul_(0.1).requires_grad_()
    for flag in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, d, flag=flag: sample(model(d), x, levels, method=method, last=3, checkpointed=flag), (x, delta)
        )


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_checkpointing_changes_nothing(method):
    levels = karras_levels(6, sigma_max=5.0, sigma_min=0.1)
    model, found = Small(levels), []
    for flag in (False, True):
        x = torch.randn(2, 4, generator=torch_rng(6), dtype=torch.float64, requires_grad=True)
        delta = torch.zeros(2, 7, 4, dtype=torch.float64, requires_grad=True)
        made = sample(model(delta), x, levels, method=method, last=2, checkpointed=flag)
        found.append((made.detach(), *torch.autograd.grad((made**2).sum(), (x, delta))))
    for plain, again in zip(*found, strict=True):
        assert torch.equal(plain, again)


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(4, 12), sigma_max=st.floats(1.0, 20.0), seed=st.integers(0, 100))
def test_inversion_returns(steps, sigma_max, seed):
    levels = karras_levels(steps, sigma_max=sigma_max, sigma_min=0.05)
    clean = MEAN + STD * torch.randn(4, 3, generator=torch_rng(seed), dtype=torch.float64)
    x = invert(ideal(levels), clean, levels, iterations=2000)
    back = sample(ideal(levels), x, levels)[-1]
    torch.testing.assert_close(back, clean, rtol=1e-3, atol=1e-3)


def test_bad_settings_are_refused():
    levels = karras_levels(4)
    x = start(2)
    for name, kwargs in {
        "method": {"method": "plms"},
        "last": {"last": 5},
        "eta": {"eta": 0.5},
    }.items():
        with pytest.raises(BadArgument, match=name):
            sample(ideal(levels), x, levels, **kwargs)
    with pytest.raises(BadArgument, match="steps"):
        karras_levels(1)
    with pytest.raises(BadArgument, match="iterations"):
        invert(ideal(levels), x, levels, iterations=0)
