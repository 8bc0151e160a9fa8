"""Cut-outs: sizes, places, noise, gradients and randomness."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.generate.cutouts import Cutouts


def ramp(size):
    """Each pixel holds its row and column."""
    line = torch.arange(size, dtype=torch.float32)
    return torch.stack([line[:, None].expand(size, size), line.expand(size, size)])[None]


@settings(max_examples=25, deadline=None)
@given(size=st.integers(4, 20), target=st.integers(2, 8), pad=st.integers(0, 2), seed=st.integers(0, 99))
def test_views_are_squares_of_the_picture(size, target, pad, seed):
    views = Cutouts(3, size=target, noise=0.0, pad=pad)(ramp(size), torch_rng(seed))
    assert views.shape == (3, 2, target, target)
    assert views.min() >= 0
    assert views.max() <= size - 1
    side = views[:, 0].amax((1, 2)) - views[:, 0].amin((1, 2))
    if not pad:  # a crop of side s pooled to t cells spans s - s/t rows, at least the smallest crop's
        assert (side >= min(target, size) - max(1.0, size / target) - 1e-4).all()


def test_full_size_is_the_image_itself_and_a_border_only_shifts():
    image = ramp(6)
    assert torch.equal(Cutouts(2, noise=0.0)(image, torch_rng(0)), image.repeat(2, 1, 1, 1))
    seen = set()
    for seed in range(40):
        (view,) = Cutouts(1, noise=0.0, pad=1)(image, torch_rng(seed))
        row, column = view[0, 2, 2].item(), view[1, 2, 2].item()
        seen.add((row, column))
        torch.testing.assert_close(view[0, 1:5, 0].diff(), torch.ones(3))
    assert seen == {(r, c) for r in (1, 2, 3) for c in (1, 2, 3)}


def test_noise_has_its_deviation_and_is_different_in_each_view():
    flat = torch.full((2, 3, 32, 32), 0.5)
    views = Cutouts(4, noise=0.05)(flat, torch_rng(0)) - 0.5
    assert views.std().item() == pytest.approx(0.05, rel=0.05)
    assert not torch.equal(views[:2], views[2:4])


def test_same_seed_same_views_and_gradients_flow():
    image = torch.rand(1, 3, 9, 9, generator=torch_rng(1), dtype=torch.float64).requires_grad_()
    cut = Cutouts(3, size=4)
    assert torch.equal(cut(image, torch_rng(5)), cut(image, torch_rng(5)))
    assert torch.autograd.gradcheck(lambda x: cut(x, torch_rng(5)), image)
    assert Cutouts(0)(image, torch_rng(0)) is image


@pytest.mark.parametrize("bad", [{"count": -1}, {"size": 0}, {"noise": -0.1}, {"pad": -1}, {"power": 0.0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(BadArgument, match=next(iter(bad))):
        Cutouts(**bad)
