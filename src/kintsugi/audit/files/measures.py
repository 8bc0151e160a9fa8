"""What one look at small images tells of their quality, and the defects that are planted to calibrate it.

From the histogram of luminance (BT.601, 8 bits): the level that 99% of the pixels stay below, the level that 95% lie
above, the share of pixels below white, and the entropy of the histogram in 64 bins. From differences of neighbouring
pixels: ``detail`` = sum |Laplacian|^2 / sum |gradient|^2, both less what rounding adds to them. It has no unit, so
contrast and exposure drop out of it: 5 for white noise, about 2 for sharp photographs, near 0 for blurred ones (one
frequency w gives about w^2). From the channels: how far they lie apart, 0 for grey images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.data.stream import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Images = NDArray[np.uint8]

MEASURES = ("light", "shade", "unclipped", "entropy", "detail", "colour")
DEFECTS = ("dark", "overexposed", "washed out", "blurred", "patch", "noise")
WHITE = 250  # levels from here on are white
GAMMA = 2.2  # of a display: one stop of light is a factor 2^(1 / 2.2) of the stored value


def measure(image: Images) -> Floats:
    """The measures of square images, float ``[B, 6]`` in the order of :data:`MEASURES`.

    Args:
        image: uint8 ``[B, S, S, 3]`` with S of 3 or more.

    Returns:
        Light, shade and share of unclipped pixels in 0..1, entropy in bits (0..6), detail (NaN where pixels
        differ by no more than rounding), distance of the channels in levels.
    """
    count, pixels = len(image), image.shape[1] * image.shape[2]
    red, green, blue = (image[..., k].astype(np.uint16) for k in range(3))
    weighted = 77 * red + 150 * green + 29 * blue  # at most 256 x 255, which 16 bits hold
    luma = (weighted + 128) >> 8
    cell = (luma.reshape(count, -1) + 256 * np.arange(count, dtype=np.int64)[:, None]).ravel()
    histogram = np.bincount(cell, minlength=256 * count).reshape(count, 256)
    below = np.cumsum(histogram, axis=1)
    light = (below >= 0.99 * pixels).argmax(axis=1) / 255
    shade = (below >= 0.05 * pixels).argmax(axis=1) / 255
    share = histogram.reshape(count, 64, 4).sum(axis=2) / pixels
    entropy = (share * np.log2(1 / np.where(share > 0, share, 1))).sum(axis=1)
    colour = (np.abs(red.astype(np.int16) - green) + np.abs(blue.astype(np.int16) - green)).mean(axis=(1, 2))
    unclipped = below[:, WHITE - 1] / pixels
    return np.stack([light, shade, unclipped, entropy, _detail(weighted), colour], axis=1).astype(np.float64)


def _detail(weighted: NDArray[np.integer]) -> Floats:
    level: NDArray[np.float32] = weighted.astype(np.float32) / np.float32(256)
    inner = level[:, 1:-1, 1:-1]
    right, down = level[:, 1:-1, 2:] - inner, level[:, 2:, 1:-1] - inner
    laplacian = right + down + (level[:, 1:-1, :-2] - inner) + (level[:, :-2, 1:-1] - inner)
    # Rounding to whole levels is noise of variance 1/12, of which the Laplacian has 20 times and the gradient 4 times.
    rounding = inner[0].size / 12
    gradient = _square(right) + _square(down) - 4 * rounding
    rough = np.maximum(_square(laplacian) - 20 * rounding, 0)
    return np.where(gradient > 0, rough / np.maximum(gradient, 1e-9), np.nan)


def _square(values: NDArray[np.floating]) -> Floats:
    return np.einsum("bhw,bhw->b", values, values, dtype=np.float64)


def planted(image: Images, shapes: NDArray[np.int64], defect: str, strength: float, rng: np.random.Generator) -> Images:
    """Images with a defect.

    Args:
        image: uint8 ``[B, S, S, 3]``.
        shapes: (height, width) they were stored at, int64 ``[B, 2]``: noise is of that size, and shrunk as they were.
        defect: one of :data:`DEFECTS`.
        strength: stops less (``dark``) or more (``overexposed``) of light; the contrast that is left below white
            (``washed out``); standard deviation of the ``blurred``'s Gaussian in shares of the side; share of the
            height that one colour covers (``patch``); standard deviation of ``noise`` in units of the full range,
            around grey.
        rng: for where a patch lies and what colour it has, and for the noise.
    """
    from scipy.ndimage import gaussian_filter

    one_of("defect", defect, DEFECTS)
    value = image.astype(np.float32) / 255
    side = image.shape[1]
    if defect in ("dark", "overexposed"):
        value = value * 2 ** ((strength if defect == "overexposed" else -strength) / GAMMA)
    elif defect == "washed out":
        value = 1 - (1 - value) * strength
    elif defect == "blurred":
        value = gaussian_filter(value, (0, strength * side, strength * side, 0))
    elif defect == "patch":
        high = round(strength * side)
        for one in value:
            top = int(rng.integers(side - high + 1))
            one[top : top + high] = rng.random(3)
    else:
        made = [0.5 + strength * rng.standard_normal((*np.minimum(shape, 4 * side), 1)) for shape in shapes]
        grain = [np.repeat(_bytes(one), 3, axis=2) for one in made]
        return np.stack([resized(one, (side, side), "squash") for one in grain])
    return _bytes(value)


def _bytes(value: NDArray[np.floating]) -> Images:
    return np.clip(np.rint(value * 255), 0, 255).astype(np.uint8)
