"""Against SciPy's convolution with a disk made by its definition."""

import numpy as np
import pytest
import torch
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
