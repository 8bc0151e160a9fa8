"""Preconditioning and loss against closed forms on Gaussian data."""

import math

import pytest
import torch
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.core.randomness import torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.precondition import Denoiser, DenoisingLoss, Uncertainty, denoising_loss
from kintsugi.generate.diffusion.samplers import karras_levels, sample


class Affine(nn.Module):
    """F = a(noise) x + b(noise): enough to be the ideal network for Gaussian data of known spread."""

    def __init__(self, mean=0.0, std=0.5):
        super().__init__()
        self.mean, self.std, self.bias = mean, std, nn.Parameter(torch.zeros(2, 3))

    def embed(self, label):
        return self.bias[label]

    def forward(self, x, noise, embedding):
        sigma, d = (4 * noise).exp().reshape(-1, 1, 1, 1), 0.5
        total, s = sigma**2 + d**2, self.std
        ideal = (s**2 * x * total.sqrt() + sigma**2 * self.mean) / (s**2 + sigma**2)
        return (ideal - d**2 / total * x * total.sqrt()) * total.sqrt() / (sigma * d) + embedding[:, :, None, None]


def draw(*shape, name="x"):
    return torch.randn(shape, generator=torch_rng(0, name), dtype=torch.float64)


def test_zero_network_is_ideal_for_centred_data_of_the_assumed_spread():
    class Zero(nn.Module):
        def forward(self, x, noise, embedding):
            return torch.zeros_like(x)

    x, sigma = draw(4, 3, 2, 2), torch.tensor([0.01, 0.5, 3.0, 80.0], dtype=torch.float64)
    expected = 0.25 / (0.25 + sigma**2).reshape(-1, 1, 1, 1) * x
    torch.testing.assert_close(Denoiser(Zero())(x, sigma, None), expected)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 2.0, 40.0])
def test_network_sees_and_must_say_unit_numbers(sigma):
    seen = []

    class Spy(nn.Module):
        def forward(self, x, noise, embedding):
            seen.append((x, noise))
            return torch.zeros_like(x)

    clean = 0.5 * draw(2000, 1, 2, 2)
    noisy, level = clean + sigma * draw(2000, 1, 2, 2, name="n"), torch.full((2000,), sigma, dtype=torch.float64)
    skipped = Denoiser(Spy())(noisy, level, None)
    ((x, noise),) = seen
    assert x.std().item() == pytest.approx(1, rel=0.03)
    assert noise[0].item() == pytest.approx(math.log(sigma) / 4)
    c_out = sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
    assert ((clean - skipped) / c_out).std().item() == pytest.approx(1, rel=0.03)  # the network's target
    weight = denoising_loss(skipped, clean, level, 0.5, torch.zeros_like(level))
    assert weight.mean().item() == pytest.approx(1, rel=0.05)  # so every level weighs the same at the start


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_preconditioned_ideal_network_samples_its_gaussian(method):
    model = Denoiser(Affine(mean=0.2, std=0.3))
    levels = karras_levels(64, sigma_max=20.0, sigma_min=0.01)

    def denoise(x, step):
        return model(x, torch.full((len(x),), float(levels[step]), dtype=x.dtype), torch.zeros(len(x), 1))

    with torch.no_grad():
        made = sample(denoise, 20 * draw(3000, 1, 1, 1), levels, method=method)[-1]
    assert made.mean().item() == pytest.approx(0.2, abs=0.02)
    assert made.std().item() == pytest.approx(0.3, rel={"euler": 0.12, "heun": 0.04}[method])


def test_learned_uncertainty_is_best_at_the_log_of_the_loss():
    clean, denoised, sigma = draw(64, 3, 2, 2), draw(64, 3, 2, 2, name="d"), torch.full((64,), 0.7, dtype=torch.float64)
    plain = denoising_loss(denoised, clean, sigma, 0.5, torch.zeros_like(sigma)).mean()
    u = plain.log().clone().requires_grad_()
    best = denoising_loss(denoised, clean, sigma, 0.5, u.expand(64)).mean()
    assert torch.autograd.grad(best, u)[0].abs() < 1e-10
    assert best.item() == pytest.approx(1 + plain.log().item())
    assert Uncertainty(torch_rng(0))(torch.rand(5) + 0.1).shape == (5,)


def batch(n=4000, label=1):
    image = 0.5 + 0.25 * torch.randn(n, 3, 2, 2, generator=torch_rng(3))
    return Batch(image, torch.full((n,), label), torch.arange(n))


def objective(**options):
    made = DenoisingLoss(rng=torch_rng(0), **options)
    made.rng = torch_rng(5)
    return made


def test_loss_of_the_ideal_denoiser():
    # Data N(0, 0.5^2): the best error is s^2 d^2 / (s^2 + d^2), which the weight turns into 1 at every level.
    loss = objective(label_dropout=0.0)(Denoiser(Affine()), batch())
    assert loss.parts["denoising"].item() == pytest.approx(1, rel=0.02)


def test_labels_are_hidden_at_their_rate_and_draws_repeat():
    class Labels(Affine):
        def embed(self, label):
            self.seen = label
            return torch.zeros(len(label), 3)

    net = Labels()
    first = objective(label_dropout=0.25)(Denoiser(net), batch())
    assert (net.seen == -1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert set(net.seen.tolist()) == {-1, 1}
    again = objective(label_dropout=0.25)(Denoiser(net), batch())
    assert first.total.item() == again.total.item()


def test_unlabelled_samples_are_refused():
    import numpy as np

    from kintsugi.core.errors import BadData

    data = ImageSet.from_arrays(np.zeros((2, 4, 4), np.uint8), [0, -1], classes=["a"])
    with pytest.raises(BadData, match="label"):
        objective().setup(data)
