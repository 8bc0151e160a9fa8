"""Gaussian noise against the law it draws from."""

import pytest
import torch
from scipy import stats

from kintsugi.core.randomness import torch_rng
from kintsugi.stress.corrupt.gaussian_noise import GaussianNoise

PUBLISHED = {"32": (0.04, 0.06, 0.08, 0.09, 0.10), "224": (0.08, 0.12, 0.18, 0.26, 0.38)}


@pytest.mark.parametrize("preset", PUBLISHED)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_noise_is_normal_of_the_published_deviation_and_clipped(preset, severity):
    made = GaussianNoise(preset)(torch.full((4, 3, 60, 60), 0.5), severity, torch_rng(severity)).flatten().double()
    std = PUBLISHED[preset][severity - 1]
    # Inside the range the values follow the normal law; what falls outside it sits on the border.
    inside = made[(made > 0) & (made < 1)].numpy()
    law = stats.truncnorm(-0.5 / std, 0.5 / std, loc=0.5, scale=std)
    assert stats.kstest(inside, law.cdf).pvalue > 1e-3
    assert (made == 0).double().mean().item() == pytest.approx(stats.norm.cdf(-0.5 / std), abs=5e-3)


def test_noise_of_pixels_channels_and_images_is_independent():
    made = GaussianNoise("32")(torch.full((2, 3, 40, 40), 0.5), 1, torch_rng(0)) - 0.5
    rows = torch.stack([made[0, 0], made[0, 1], made[1, 0], made[0, 0].roll(1, 0), made[0, 0].roll(1, 1)]).flatten(1)
    off = torch.corrcoef(rows) - torch.eye(len(rows))
    assert off.abs().max() < 0.1
