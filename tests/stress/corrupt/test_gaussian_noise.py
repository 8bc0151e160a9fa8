"""The noise's distribution, clipping included, against SciPy's."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from kintsugi.stress.corrupt.gaussian_noise import GaussianNoise


@pytest.mark.parametrize(("side", "table"), [(32, GaussianNoise.small), (96, GaussianNoise.large)])
@pytest.mark.parametrize("severity", [1, 5])
def test_noise_is_normal_with_the_papers_deviation(side, table, severity):
    image = torch.full((4, 3, side, side), 0.5)
    sigma = table[severity - 1]
    noise = (GaussianNoise()(image, severity, torch.Generator().manual_seed(0)) - 0.5).numpy().ravel()
    inside = np.abs(noise) < 0.4999
    assert inside.mean() == pytest.approx(1 - 2 * norm.sf(0.5 / sigma), abs=0.01)
    cut = norm.cdf(0.5 / sigma) - norm.cdf(-0.5 / sigma)
    kept = noise[inside]
    assert kstest(kept, lambda x: (norm.cdf(x / sigma) - norm.cdf(-0.5 / sigma)) / cut).pvalue > 1e-3


def test_channels_and_images_get_their_own_noise():
    made = (
        GaussianNoise()(torch.full((2, 3, 40, 40), 0.5), 3, torch.Generator().manual_seed(0)).flatten(2).flatten(0, 1)
    )
    correlation = np.corrcoef(made.numpy())
    assert np.abs(correlation - np.eye(6)).max() < 0.1


def test_presets():
    image, rng = torch.full((1, 1, 32, 32), 0.5), torch.Generator
    small = GaussianNoise("small")(image, 5, rng().manual_seed(0))
    assert torch.equal(GaussianNoise()(image, 5, rng().manual_seed(0)), small)
    assert GaussianNoise("large")(image, 5, rng().manual_seed(0)).std() > 2 * small.std()
