<<<<<<< HEAD
"""Against SciPy's convolution with a disk made by its definition."""
=======
"""Defocus blur against scipy's convolution with a disk drawn pixel by pixel."""

import math
>>>>>>> main

import numpy as np
import pytest
import torch
<<<<<<< HEAD
from scipy.ndimage import convolve

from kintsugi.stress.corrupt.defocus_blur import DefocusBlur, disk


def defined(radius, sigma):
    """The disk by NumPy loops: flat inside the radius, then a Gaussian of 3 (5) taps, mirrored at the border."""
    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    flat = np.array([[x * x + y * y <= radius**2 for x in range(-reach, reach + 1)] for y in range(-reach, reach + 1)])
    bell = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * sigma**2))
    bell = np.outer(bell, bell) / np.outer(bell, bell).sum()
    return convolve(flat / flat.sum(), bell, mode="mirror")


@pytest.mark.parametrize("preset", ["small", "large"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_agrees_with_scipy(preset, severity):
    image = np.random.default_rng(severity).random((2, 3, 23, 18)).astype(np.float32)
    made = DefocusBlur(preset)(torch.from_numpy(image), severity, torch.Generator()).numpy()
    kernel = defined(*getattr(DefocusBlur, preset)[severity - 1])
    wanted = np.stack([[convolve(c.astype(np.float64), kernel, mode="mirror") for c in one] for one in image])
    np.testing.assert_allclose(made, wanted, atol=2e-6)


def test_kernels_keep_the_light_and_grow():
    for table in (DefocusBlur.small, DefocusBlur.large):
        kernels = [disk(*strength) for strength in table]
        assert all(float(kernel.sum()) == pytest.approx(1, abs=0.014) for kernel in kernels)
        widths = [float((k.sum(0) * (torch.arange(len(k)) - len(k) // 2) ** 2).sum()) for k in kernels]
        assert widths == sorted(widths)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2)])
def test_images_smaller_than_the_disk(shape):
    image = np.random.default_rng(0).random((1, 1, *shape)).astype(np.float32)
    made = DefocusBlur("large")(torch.from_numpy(image), 5, torch.Generator()).numpy()
    wanted = convolve(image[0, 0].astype(np.float64), defined(10, 0.5), mode="mirror")
    np.testing.assert_allclose(made[0, 0], wanted, atol=2e-6)
=======
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
>>>>>>> main
