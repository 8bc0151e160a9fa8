"""What the family promises for every member, on members that break every promise."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.models.base import TorchModel
from kintsugi.stress.attack.base import Attack, excess


class Sums(nn.Module):
    """Class 1 when the mean of the image is above one half."""

    def __init__(self, sharp=8.0):
        super().__init__()
        self.sharp = nn.Parameter(torch.tensor(sharp))

    def forward(self, image):
        above = self.sharp * (image.mean((1, 2, 3)) - 0.5)
        return torch.stack([-above, above], 1)


@dataclass(frozen=True)
class Far(Attack):
    """Leaves the ball and the bounds."""

    def run(self, model, batch, *, eps, rng):
        model(batch.image)
        model(batch.image)
        return batch.image + 100 * torch.randn(batch.image.shape, generator=rng)


@dataclass(frozen=True)
class Nothing(Attack):
    """Returns the images."""

    def run(self, model, batch, *, eps, rng):
        return batch.image


def model(sharp=8.0):
    return TorchModel(Sums(sharp), ("dark", "light"))


def batch(image, label):
    return Batch(image, torch.as_tensor(label), torch.arange(len(image)))


@settings(max_examples=25, deadline=None)
@given(norm=st.sampled_from(["linf", "l2"]), eps=st.floats(0, 1), seed=st.integers(0, 9))
def test_the_result_is_in_the_ball_and_in_the_bounds(norm, eps, seed):
    image = torch.rand(3, 3, 5, 5, generator=torch_rng(seed), dtype=torch.float64)
    made = Far(norm)(model().double(), batch(image, [0, 0, 1]), eps=eps, rng=torch_rng(seed))
    size = (made.image - image).flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)
    assert (size <= eps + 1e-12).all()
    assert made.image.min() >= 0
    assert made.image.max() <= 1
    assert torch.allclose(size, made.linf if norm == "linf" else made.l2)


def test_only_samples_that_were_right_can_be_broken():
    image = torch.full((4, 1, 2, 2), 0.5) + torch.tensor([0.01, -0.01, 0.01, -0.01])[:, None, None, None]

    @dataclass(frozen=True)
    class Flip(Attack):
        def run(self, model, batch, *, eps, rng):
            return 1 - batch.image

    made = Flip()(model(), batch(image, [1, 0, 0, 1]), eps=0.1, rng=torch_rng(0))
    assert made.eligible.tolist() == [True, True, False, False]
    assert made.success.tolist() == [True, True, False, False]
    assert made.rate == 1.0
    aimed = Flip(targeted=True)(model(), batch(image, [1, 0, 0, 1]), eps=0.1, rng=torch_rng(0))
    assert aimed.eligible.tolist() == [False, False, True, True]
    assert aimed.success.tolist() == [False, False, True, True]


def test_predicted_labels_make_every_sample_eligible_and_need_no_labels():
    image = torch.rand(5, 3, 4, 4, generator=torch_rng(0))
    made = Nothing(label="predicted")(model(), batch(image, [-1] * 5), eps=0.1, rng=torch_rng(0))
    assert made.eligible.all()
    assert made.rate == 0.0
    assert made.unmoved.all()


def test_the_control_is_noise_of_the_full_size():
    # Far from the boundary by less than eps / sqrt(n) random signs break about half, and nothing else may.
    image = torch.full((400, 1, 4, 4), 0.5001)
    made = Nothing()(model(), batch(image, [1] * 400), eps=0.1, rng=torch_rng(0))
    assert 0.35 < made.control_rate < 0.65
    change = Nothing("linf").random_change(image, 0.1, torch_rng(0))
    assert torch.equal(change.abs(), torch.full_like(change, 0.1))
    change = Nothing("l2").random_change(image, 0.1, torch_rng(0))
    assert torch.allclose(change.flatten(1).norm(dim=1), torch.full((400,), 0.1))


def test_queries_are_those_of_the_attack():
    image = torch.rand(3, 3, 4, 4, generator=torch_rng(0))
    assert Far()(model(), batch(image, [0, 0, 0]), eps=0.1, rng=torch_rng(0)).queries == 2


def test_no_eligible_sample_gives_no_rate():
    made = Nothing()(model(), batch(torch.zeros(2, 1, 2, 2), [1, 1]), eps=0.1, rng=torch_rng(0))
    assert made.rate != made.rate


@pytest.mark.parametrize("sharp", [1.0, 30.0])
def test_excess_climbs_where_cross_entropy_climbs(sharp):
    logits = sharp * torch.randn(20, 5, generator=torch_rng(0), dtype=torch.float64)
    label = torch.arange(20) % 5
    one, two = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(excess(one, label).sum(), one)
    (wanted,) = torch.autograd.grad(nn.functional.cross_entropy(two, label, reduction="sum"), two)
    factor = torch.sigmoid(excess(logits, label))[:, None]
    assert torch.allclose(slope * factor, wanted, atol=1e-12)


def test_bad_values_are_refused_by_name():
    rng, image = torch_rng(0), torch.rand(2, 3, 4, 4, generator=torch_rng(0))
    for eps in (-0.1, float("nan"), float("inf"), 8, "0.1"):
        with pytest.raises(BadArgument, match="eps"):
            Nothing()(model(), batch(image, [0, 1]), eps=eps, rng=rng)
    with pytest.raises(BadData, match="no label"):
        Nothing()(model(), batch(image, [0, -1]), eps=0.1, rng=rng)
    with pytest.raises(BadData, match="values from"):
        Nothing()(model(), batch(image * 255, [0, 1]), eps=0.1, rng=rng)
    for wrong in ({"norm": "l1"}, {"label": "true"}, {"targeted": 1}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            Nothing(**wrong)
    with pytest.raises(BadArgument, match="label"):
        Nothing(targeted=True, label="predicted")
