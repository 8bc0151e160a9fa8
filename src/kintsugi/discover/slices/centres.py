"""Where the classes lie in a model's features, and what is far from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet


class Centres:
    """How far images lie from the centres of classes, by the features of what was answered rightly."""

    def __init__(self, data: ImageSet, outputs: Outputs, share: float) -> None:
        assert outputs.features is not None
        self._x = np.asarray(outputs.features, dtype=np.float64)
        right = (outputs.predicted == data.labels) & np.isfinite(self._x).all(axis=1)
        count = len(data.classes)
        self._centre = np.full((count, self._x.shape[1]), np.nan)
        self._limit = np.full(count, np.nan)
        rows = np.flatnonzero(right)
        rows = rows[np.argsort(data.labels[rows], kind="stable")]
        for part in np.split(rows, np.flatnonzero(np.diff(data.labels[rows])) + 1) if len(rows) else ():
            k, mine = int(data.labels[part[0]]), self._x[part]
            self._centre[k] = mine.mean(axis=0)
            # A class of few images has a centre that each of them pulls along: nothing is far then.
            if len(mine) >= 5:
                distance = np.linalg.norm(mine - self._centre[k], axis=1) * len(mine) / (len(mine) - 1)
                self._limit[k] = np.quantile(distance, share)

    def far(self, row: int, k: int) -> bool:
        """Whether an image lies further from a class's centre than most of its own; False where that is unknown."""
        return bool(np.linalg.norm(self._x[row] - self._centre[k]) > self._limit[k])

    def among(self, row: int, k: int) -> bool:
        """Whether it lies no further than most of its own."""
        return bool(np.linalg.norm(self._x[row] - self._centre[k]) <= self._limit[k])

    def far_from_all(self, row: int) -> bool:
        """Whether it lies far from every class's centre."""
        known = np.isfinite(self._limit)
        distance = np.linalg.norm(self._x[row] - self._centre[known], axis=1)
        return bool(known.any() and (distance > self._limit[known]).all())
