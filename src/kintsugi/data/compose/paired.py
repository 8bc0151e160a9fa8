"""What worlds of two classes and a two-valued shortcut have in common: four groups, any of which can be rare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import require
from kintsugi.core.randomness import numpy_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

PARTS = ("pool", "valid", "test")


class Paired(ABC):
    """Images composed of a cause (what the class is) and a shortcut (what goes with it in training).

    Attributes:
        size: side of the images in pixels.
        classes: the two class names.
    """

    size: int
    classes: tuple[str, ...]

    @abstractmethod
    def make(
        self, label: Sequence[int], shortcut: Sequence[int], part: str, seed: int, *, in_order: bool = False
    ) -> ImageSet:
        """One image for each pair of class and shortcut, both 0 or 1.

        Args:
            label: class of each image.
            shortcut: value of the shortcut in each.
            part: ``pool``, ``valid`` or ``test``; parts share no original.
            seed: for everything that is drawn.
            in_order: walk through the part's originals in order, each once, instead of drawing them.
        """

    @abstractmethod
    def distinct(self, k: int, part: str) -> int:
        """How many originals a part has of class ``k``."""

    def mixed(self, n: int, minority: float, part: str, seed: int) -> ImageSet:
        """``n`` images, classes balanced; a share ``minority`` has the other class's shortcut (an exact count)."""
        require(0.0 <= minority <= 1.0, "minority", minority, "a share from 0 to 1")
        label = np.arange(n) % 2
        flip = np.arange(n) < round(n * minority)
        order = numpy_rng(seed, "order").permutation(n)
        return self.make(label[order].tolist(), (label ^ flip)[order].tolist(), part, seed)

    def every_group(self, part: str, seed: int, *, times: int = 1) -> ImageSet:
        """Every original of a part with each value of the shortcut: what accuracy by group is measured on.

        Args:
            part: ``pool``, ``valid`` or ``test``.
            seed: for the renderings.
            times: renderings of each pair.
        """
        require(times >= 1, "times", times, "1 or more")
        label: list[int] = []
        shortcut: list[int] = []
        for k in (0, 1):
            for value in (0, 1):
                count = self.distinct(k, part) * times
                label += [k] * count
                shortcut += [value] * count
        return self.make(label, shortcut, part, seed, in_order=True)


def originals(
    label: NDArray[np.int64], counts: Sequence[int], rng: np.random.Generator, *, in_order: bool
) -> NDArray[np.int64]:
    """Which original of its class each image shows: the next one in order, or one drawn; int64 ``[N]``."""
    pick = np.empty(len(label), dtype=np.int64)
    for k, have in enumerate(counts):
        mine = np.flatnonzero(label == k)
        pick[mine] = np.arange(len(mine)) % have if in_order else rng.integers(have, size=len(mine))
    return pick
