"""FGSM against the closed form of logistic regression (card 85, items 2 and 3), and where gradients vanish."""

import pytest
import torch
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.core.randomness import torch_rng
from kintsugi.models.base import TorchModel
from kintsugi.stress.attack.fgsm import FGSM


class Logistic(nn.Module):
    """Labels -1 and 1 as classes 0 and 1: the difference of the logits is w x + b."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, image):
        score = image.flatten(1) @ self.weight + self.bias
        return torch.stack([-score / 2, score / 2], 1)


def logistic(scale=1.0, size=48):
    weight = scale * torch.randn(size, generator=torch_rng(1), dtype=torch.float64)
    return TorchModel(Logistic(weight, -weight.sum() / 2), ("minus", "plus"))


def grey(n=30):
    """Images far enough from black and white that no clipping interferes."""
    image = 0.3 + 0.4 * torch.rand(n, 3, 4, 4, generator=torch_rng(2), dtype=torch.float64)
    return Batch(image, torch.arange(n) % 2, torch.arange(n))


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.25])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_loss_it_reaches_is_the_closed_form(eps, norm):
    model, batch = logistic(), grey()
    made = FGSM(norm)(model, batch, eps=eps, rng=torch_rng(0))
    weight, bias = model.net.weight.detach(), model.net.bias.detach()
    y = 2.0 * batch.label - 1.0
    # Dual norms: the largest change of w x is eps |w|_1 in the l-infinity ball and eps |w|_2 in the l2 ball.
    worst = eps * weight.norm(p=1 if norm == "linf" else 2)
    wanted = nn.functional.softplus(worst - y * (batch.image.flatten(1) @ weight + bias))
    reached = nn.functional.cross_entropy(model(made.image), batch.label, reduction="none").detach()
    assert torch.allclose(reached, wanted, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted_moves_towards_the_target(norm):
    model, batch = logistic(), grey()
    target = batch.replace(label=1 - batch.label)
    towards = FGSM(norm, targeted=True)(model, target, eps=0.1, rng=torch_rng(0))
    away = FGSM(norm)(model, batch, eps=0.1, rng=torch_rng(0))
    # With two classes, towards the other is away from the one.
    assert torch.allclose(towards.image, away.image)


def test_a_model_too_sure_for_floating_point_is_still_broken():
    model, batch = logistic(scale=1e6).float(), grey()
    batch = batch.replace(image=batch.image.float())
    with torch.no_grad():
        batch = batch.replace(label=model(batch.image).argmax(1))
    leaf = batch.image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), batch.label), leaf)
    assert not slope.any()  # the textbook gradient says nothing at all here
    made = FGSM()(model, batch, eps=0.25, rng=torch_rng(0))
    assert made.rate == 1.0
    assert not made.unmoved.any()


def test_a_masked_gradient_is_reported_and_not_called_robust():
    class Rounded(Logistic):
        def forward(self, image):
            return super().forward((image * 7).round() / 7)

    plain = logistic()
    model = TorchModel(Rounded(plain.net.weight.detach(), plain.net.bias.detach()), plain.classes)
    batch = grey()
    with torch.no_grad():
        batch = batch.replace(label=model(batch.image).argmax(1))
    made = FGSM()(model, batch, eps=0.1, rng=torch_rng(0))
    assert made.rate == 0.0
    assert made.unmoved.all()
    assert made.control_rate > 0.0


def test_pixels_without_gradient_stay():
    model = logistic()
    with torch.no_grad():
        model.net.weight[:24] = 0.0
    batch = grey()
    change = (FGSM()(model, batch, eps=0.1, rng=torch_rng(0)).image - batch.image).flatten(1)
    assert not change[:, :24].any()
    assert torch.allclose(change[:, 24:].abs(), torch.tensor(0.1, dtype=torch.float64))
