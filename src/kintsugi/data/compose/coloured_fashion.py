"""Fashion-MNIST's trousers and dresses on a red or a green ground: card 1's check, from data the person has.

The class is the garment, the colour of the ground is the shortcut. Images come from a folder named by the environment
variable ``KINTSUGI_DATA``; none ship.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FILE = "fashion_mnist_full_60k_10k.npz"
GARMENTS = {"trouser": 1, "dress": 3}
GROUNDS = {"red": (190, 40, 40), "green": (40, 150, 40)}
PARTS = ("pool", "valid", "test")
VALID = 200  # garments a class kept for validation


class ColouredFashion:
    """Renders sets of images.

    Args:
        size: side in pixels, to which the garments are scaled.
        test: test garments a class used, each on both grounds.
        jitter: largest change of each channel of the ground, in grey levels.

    Raises:
        BadData: ``KINTSUGI_DATA`` is not set or does not hold the file.
    """

    def __init__(self, size: int = 16, *, test: int = 500, jitter: int = 20) -> None:
        self.size, self.jitter = size, jitter
        self.classes = tuple(GARMENTS)
        self._images = {part: [_garments(k, part, size, test) for k in GARMENTS.values()] for part in PARTS}

    def make(
        self, label: Sequence[int], ground: Sequence[int], part: str, seed: int, *, in_order: bool = False
    ) -> ImageSet:
        """One image for each pair of label and ground; columns ``ground`` and ``garment`` (which original)."""
        one_of("part", part, PARTS)
        rng = numpy_rng(seed, "coloured-fashion", part)
        k, colour = np.asarray(label), np.array(list(GROUNDS.values()))[np.asarray(ground)]
        pick = np.empty(len(k), dtype=np.int64)
        for each in range(len(self.classes)):
            mine, have = np.flatnonzero(k == each), len(self._images[part][each])
            pick[mine] = np.arange(len(mine)) % have if in_order else rng.integers(have, size=len(mine))
        alpha = np.stack([self._images[part][c][i] for c, i in zip(k, pick, strict=True)])[..., None] / 255.0
        shade = colour + rng.integers(-self.jitter, self.jitter + 1, size=colour.shape)
        pixels = shade[:, None, None, :] * (1 - alpha) + 255.0 * alpha
        names = list(GROUNDS)
        return ImageSet.from_arrays(
            np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
            k,
            self.classes,
            id=[f"{part}-{seed}-{number:05d}" for number in range(len(k))],
            ground=[names[g] for g in ground],
            garment=[f"{self.classes[c]}-{i:05d}" for c, i in zip(k, pick, strict=True)],
        )

    def mixed(self, n: int, minority: float, part: str, seed: int) -> ImageSet:
        """``n`` images, classes balanced; a share ``minority`` has the other class's ground (an exact count)."""
        label = np.arange(n) % 2
        flip = np.arange(n) < round(n * minority)
        order = numpy_rng(seed, "order").permutation(n)
        return self.make(label[order].tolist(), (label ^ flip)[order].tolist(), part, seed)

    def every_group(self, part: str, seed: int) -> ImageSet:
        """Every garment of a part once on each ground."""
        label, ground = [], []
        for k in (0, 1):
            for place in (0, 1):
                count = len(self._images[part][k])
                label += [k] * count
                ground += [place] * count
        return self.make(label, ground, part, seed, in_order=True)


@cache
def _arrays() -> dict[str, NDArray[np.uint8]]:
    with np.load(given_file(FILE)) as found:
        return {name: found[name] for name in ("x_train", "y_train", "x_test", "y_test")}


def _garments(k: int, part: str, size: int, test: int) -> NDArray[np.uint8]:
    found = _arrays()
    if part == "test":
        images = found["x_test"][found["y_test"] == k][:test]
    else:
        mine = found["x_train"][found["y_train"] == k]
        images = mine[:VALID] if part == "valid" else mine[VALID:]
    scaled = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX)) for image in images]
    return np.stack(scaled)
