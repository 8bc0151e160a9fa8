"""NT-Xent against a loop over pairs; views that are views."""

import math

import pytest
import torch
from torch.nn import functional

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.training.objective.simclr import SimCLR, nt_xent


def by_hand(z, t):
    """Equation 1, pair by pair."""
    n = len(z) // 2
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        below = sum(math.exp(float(z[i] @ z[k]) / t) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(float(z[i] @ z[j]) / t) / below)
    return total / (2 * n)


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_the_loss_is_equation_one(t):
    z = functional.normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert float(nt_xent(z, t)) == pytest.approx(by_hand(z, t), rel=1e-9)


def test_pairs_that_agree_cost_less_than_pairs_that_do_not():
    z = torch.eye(4)
    assert float(nt_xent(torch.cat([z, z]), 0.2)) < float(nt_xent(torch.cat([z, z.roll(1, 0)]), 0.2)) - 1


def batch(n=16, side=12):
    image = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.zeros(n, dtype=torch.int64), torch.arange(n))


def seeded(seed=0, **options):
    objective = SimCLR(**options)
    objective.rng = torch.Generator().manual_seed(seed)
    return objective


def test_views_are_drawn_anew_from_the_stream_and_stay_in_range():
    given, objective = batch(), seeded()
    first, second = objective.view(given.image), objective.view(given.image)
    assert first.shape == given.image.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert not torch.equal(first, second)
    assert torch.equal(first, seeded().view(given.image))


def test_without_changes_a_view_is_the_image_or_its_mirror_image():
    given = batch().image
    plain = seeded(scale=1.0, jitter=0.0, flip=0.0, grey=0.0)
    plain._drawn = lambda image, *shape: torch.full((len(image), *shape), 0.5)  # the shape of a crop: square
    assert torch.allclose(plain.view(given), given, atol=1e-5)
    plain.flip = 1.0
    assert torch.allclose(plain.view(given), given.flip(3), atol=1e-5)


def test_a_grey_view_has_no_colour_and_an_image_of_one_channel_is_no_trouble():
    view = seeded(grey=1.0, jitter=0.0).view(batch().image)
    assert torch.allclose(view[:, 0], view[:, 2], atol=1e-5)
    assert seeded().view(batch().image[:, :1]).shape == (16, 1, 12, 12)


def test_an_image_alone_is_refused_and_bad_values_are_named():
    with pytest.raises(BadData, match="nothing to be told apart"):
        seeded()(torch.nn.Flatten(), batch(1))
    for name, value in {"temperature": 0.0, "scale": 0.0, "jitter": 2.0, "flip": -0.1, "grey": 1.1}.items():
        with pytest.raises(BadArgument, match=name):
            SimCLR(**{name: value})
