"""Fashion-MNIST's trousers and dresses on a red or a green ground: card 1's check, from data the person has.

The class is the garment, the colour of the ground is the shortcut. A garment keeps its own greys and is cut out softly,
so that the ground shows nowhere through it. Images come from a folder named by the environment variable
``KINTSUGI_DATA``; none ship.
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

FILE = "fashion_mnist_full_60k_10k.npz"
GARMENTS = {"trouser": 1, "dress": 3}
GROUNDS = {"red": (190, 40, 40), "green": (40, 150, 40)}
VALID = 200  # garments a class kept for validation
FRESH = slice(500, None)  # test garments that no earlier trial was measured on


class ColouredFashion(Paired):
    """Renders sets of images.

    Args:
        size: side in pixels, to which the garments are scaled.
        test: which test garments of a class are used, each on both grounds.
        jitter: largest change of each channel of the ground, in grey levels.
        opaque: grey level of the original, whose ground is black, from which a pixel is garment alone.

    Raises:
        BadData: ``KINTSUGI_DATA`` is not set or does not hold the file.
    """

    def __init__(self, size: int = 16, *, test: slice = FRESH, jitter: int = 30, opaque: int = 64) -> None:
        require(1 <= opaque <= 255, "opaque", opaque, "a grey level from 1 to 255")
        self.size, self.jitter, self.opaque = size, jitter, opaque
        self.classes = tuple(GARMENTS)
        self._images = {
            part: [originals_of(FILE, k, part, size, valid=VALID, test=test) for k in GARMENTS.values()]
            for part in PARTS
        }

    def make(
        self, label: Sequence[int], shortcut: Sequence[int], part: str, seed: int, *, in_order: bool = False
    ) -> ImageSet:
        """One image for each pair of label and ground; columns ``ground`` and ``garment`` (which original)."""
        one_of("part", part, PARTS)
        rng = numpy_rng(seed, "coloured-fashion", part)
        k, colour = np.asarray(label), np.array(list(GROUNDS.values()))[np.asarray(shortcut)]
        pick = originals(k, [self.distinct(c, part) for c in (0, 1)], rng, in_order=in_order)
        garment = np.stack([self._images[part][c][i] for c, i in zip(k, pick, strict=True)])[..., None].astype(float)
        alpha = np.clip(garment / self.opaque, 0, 1)
        shade = colour + rng.integers(-self.jitter, self.jitter + 1, size=colour.shape)
        pixels = shade[:, None, None, :] * (1 - alpha) + garment * alpha
        names = list(GROUNDS)
        return ImageSet.from_arrays(
            np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
            k,
            self.classes,
            id=[f"{part}-{seed}-{number:05d}" for number in range(len(k))],
            ground=[names[g] for g in shortcut],
            garment=[f"{self.classes[c]}-{i:05d}" for c, i in zip(k, pick, strict=True)],
        )

    def distinct(self, k: int, part: str) -> int:
        """Garments of class ``k`` in a part."""
        return len(self._images[part][k])
