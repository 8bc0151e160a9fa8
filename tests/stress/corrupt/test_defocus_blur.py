"""Defocus blur against scipy's convolution with a disk drawn pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from kintsugi.core.randomness import torch_rng
from kintsugi.stress.corrupt.defocus_blur import DefocusBlur

PUBLISHED = {
    "32": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "224": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}


def disk(radius, sigma):
    half = math.ceil(radius) + 4
    grid = np.zeros((2 * half + 1, 2 * half + 1))
    for y in range(-half, half + 1):
        for x in range(-half, half + 1):
            grid[y + half, x + half] = math.hypot(x, y) <= radius
    side = 1 if radius <= 8 else 2
    weights = np.array([math.exp(-(k**2) / (2 * sigma**2)) for k in range(-side, side + 1)])
    weights /= weights.sum()
    for axis in (0, 1):
        grid = ndimage.correlate1d(grid, weights, axis=axis, mode="constant")
    return grid / grid.sum()


@pytest.mark.parametrize("preset", PUBLISHED)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_agrees_with_scipy(preset, severity):
    image = torch.rand(2, 3, 27, 33, generator=torch_rng(severity), dtype=torch.float64)
    made = DefocusBlur(preset)(image, severity, torch_rng(0)).numpy()
    kernel = disk(*PUBLISHED[preset][severity - 1])
    for b in range(2):
        for c in range(3):
            wanted = ndimage.convolve(image[b, c].numpy(), kernel, mode="mirror")
            np.testing.assert_allclose(made[b, c], wanted, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (3, 40)])
def test_a_flat_image_stays_flat_however_small(shape):
    image = torch.full((1, 3, *shape), 0.3)
    assert torch.allclose(DefocusBlur("224")(image, 5, torch_rng(0)), image, atol=1e-6)
