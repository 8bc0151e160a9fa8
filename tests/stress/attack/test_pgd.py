"""PGD against the best point of the ball, where it is known, and against FGSM where it is not."""

import pytest
import torch
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.stress.attack.fgsm import FGSM
from kintsugi.stress.attack.pgd import PGD


class Net(nn.Module):
    """Two layers, trained for a moment on real digits: curved enough that one step is not the best."""

    def __init__(self):
        super().__init__()
        g = torch_rng(0)
        self.first = nn.Parameter(torch.randn(64, 32, generator=g) / 8)
        self.second = nn.Parameter(torch.randn(32, 10, generator=g) / 6)

    def forward(self, image):
        return torch.relu(4 * (image.flatten(1) - 0.3) @ self.first) @ self.second


@pytest.fixture(scope="module")
def trained():
    from sklearn.datasets import load_digits

    raw = load_digits()
    image = torch.from_numpy(raw.images / 16).float()[:, None]
    label = torch.from_numpy(raw.target).long()
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(150):
        rows = torch.randint(1200, (128,), generator=torch_rng(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(image[rows]), label[rows]).backward()
        optimizer.step()
    net.zero_grad()
    return Plain(net), Batch(image[1200:1500], label[1200:1500], torch.arange(300))


class Plain:
    """A model that is no torch module, with a net inside."""

    classes, bounds = tuple("0123456789"), (0.0, 1.0)

    def __init__(self, net):
        self.net = net

    def __call__(self, image):
        return self.net(image)


class Bowl:
    """Class 1 is ahead by the squared distance from a point: the best place in the l2 ball is the farthest one."""

    classes, bounds = ("in", "out"), (0.0, 1.0)

    def __init__(self, centre):
        self.centre = centre

    def __call__(self, image):
        away = (image - self.centre).square().sum((1, 2, 3))
        return torch.stack([torch.ones_like(away), away], 1)


def test_it_finds_the_farthest_point_of_an_l2_ball():
    g = torch_rng(3)
    centre = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    image = 0.45 + 0.1 * torch.rand(8, 1, 4, 4, generator=g, dtype=torch.float64)
    batch = Batch(image, torch.zeros(8, dtype=torch.int64), torch.arange(8))
    made = PGD("l2", steps=300)(Bowl(centre), batch, eps=0.2, rng=torch_rng(0))
    outward = (image - centre) / (image - centre).flatten(1).norm(dim=1)[:, None, None, None]
    assert torch.allclose(made.image, image + 0.2 * outward, atol=1e-5)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("linf", 0.15), ("l2", 0.8)])
def test_it_breaks_no_fewer_than_one_step_and_both_more_than_noise(trained, norm, eps):
    model, batch = trained
    one = FGSM(norm)(model, batch, eps=eps, rng=torch_rng(0))
    many = PGD(norm)(model, batch, eps=eps, rng=torch_rng(0))
    assert many.rate >= one.rate
    assert one.rate > one.control_rate + 0.2


def test_one_full_step_from_the_image_is_fgsm(trained):
    model, batch = trained
    one = FGSM()(model, batch, eps=0.1, rng=torch_rng(0))
    same = PGD(steps=1, step=1.0, random_start=False)(model, batch, eps=0.1, rng=torch_rng(0))
    assert torch.equal(one.image, same.image)


@pytest.mark.parametrize("targeted", [False, True])
def test_more_restarts_never_break_fewer(trained, targeted):
    model, batch = trained
    if targeted:
        batch = batch.replace(label=(batch.label + 1) % 10)
    one = PGD(targeted=targeted, steps=4)(model, batch, eps=0.06, rng=torch_rng(0))
    five = PGD(targeted=targeted, steps=4, restarts=5)(model, batch, eps=0.06, rng=torch_rng(0))
    # The first of the five is the one: random numbers are drawn in the same order.
    assert five.success[one.success].all()
    assert five.success.sum() >= one.success.sum()
    assert (one.queries, five.queries) == (4, 5 * 4 + 5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_fill_the_ball(norm):
    image = torch.full((2000, 1, 2, 2), 0.5, dtype=torch.float64)
    start = PGD(norm)._start(image, 0.1, torch_rng(0)).flatten(1)
    size = start.norm(dim=1, p=torch.inf if norm == "linf" else 2) / 0.1
    # In a ball of d dimensions the share within a part r of the radius is r ** d, in either norm.
    for part in (0.5, 0.8, 0.95):
        assert (size <= part).double().mean().item() == pytest.approx(part**4, abs=0.03)
    assert size.max() <= 1 + 1e-12


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"step": 0.0}, {"restarts": 0}, {"random_start": 1}, {"restarts": 2, "random_start": False}]
)
def test_bad_parameters_are_refused_by_name(wrong):
    with pytest.raises(BadArgument, match=next(iter(wrong))):
        PGD(**wrong)
