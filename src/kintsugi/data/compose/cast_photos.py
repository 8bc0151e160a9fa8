"""CIFAR-10's photographs under a warm or a cold light: the class is the object, the cast of the light is the shortcut.

A change of light is modelled the usual way (von Kries): every channel of linear light has a gain of its own. Images
come from a folder named by the environment variable ``KINTSUGI_DATA``; none ship.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of, require
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.arrays import originals_of
from kintsugi.data.compose.paired import PARTS, Paired, originals
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FILE = "cifar10_10k_train_2k_test_with_cifar10n.npz"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CASTS = {"warm": (1.5, 1.0, 0.5), "cold": (0.5, 1.0, 1.5)}  # gains of red, green and blue
VALID = 150  # photographs a class kept for validation


class CastPhotos(Paired):
    """Renders sets of images.

    Args:
        size: side in pixels, to which the photographs of 32 are scaled.
        classes: two of CIFAR-10's.
        jitter: largest relative change of each gain, 0 to below 1.

    Raises:
        BadData: ``KINTSUGI_DATA`` is not set or does not hold the file.
    """

    def __init__(
        self, size: int = 24, classes: tuple[str, str] = ("automobile", "horse"), *, jitter: float = 0.1
    ) -> None:
        require(8 <= size <= 32, "size", size, "8 to 32")
        require(0 <= jitter < 1, "jitter", jitter, "a number from 0 to below 1")
        for name in classes:
            one_of("classes", name, NAMES)
        self.size, self.classes, self.jitter = size, classes, jitter
        self._images = {
            part: [originals_of(FILE, NAMES.index(name), part, size, valid=VALID) for name in classes] for part in PARTS
        }

    def make(
        self, label: Sequence[int], shortcut: Sequence[int], part: str, seed: int, *, in_order: bool = False
    ) -> ImageSet:
        """One image for each pair of label and cast; columns ``cast`` and ``photo`` (which original).

        Half of the photographs are mirrored, except ``in_order``.
        """
        one_of("part", part, PARTS)
        rng = numpy_rng(seed, "cast-photos", part)
        k = np.asarray(label)
        pick = originals(k, [self.distinct(c, part) for c in (0, 1)], rng, in_order=in_order)
        photo = np.stack([self._images[part][c][i] for c, i in zip(k, pick, strict=True)])
        if not in_order:
            mirrored = rng.random(len(k)) < 0.5
            photo[mirrored] = photo[mirrored, :, ::-1]
        gain = np.array(list(CASTS.values()))[np.asarray(shortcut)]
        gain = gain * (1 + self.jitter * rng.uniform(-1, 1, size=gain.shape))
        lit = _from_light(np.clip(_to_light(photo) * gain[:, None, None, :], 0, 1))
        names = list(CASTS)
        return ImageSet.from_arrays(
            np.rint(lit * 255).astype(np.uint8),
            k,
            self.classes,
            id=[f"{part}-{seed}-{number:05d}" for number in range(len(k))],
            cast=[names[c] for c in shortcut],
            photo=[f"{self.classes[c]}-{i:05d}" for c, i in zip(k, pick, strict=True)],
        )

    def distinct(self, k: int, part: str) -> int:
        """Photographs of class ``k`` in a part."""
        return len(self._images[part][k])


def _to_light(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels to linear light in 0..1 (sRGB's transfer function, IEC 61966-2-1)."""
    x = image / 255.0
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _from_light(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its inverse."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
