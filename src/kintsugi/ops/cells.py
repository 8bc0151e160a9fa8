"""Cells that let near pairs be found without comparing all: k-means in the first principal components.

Shortening vectors to their first axes shortens distances and never lengthens them, and a ball of radius t around x
reaches into the cell of centroid j only where x is at most t from the plane between its own centroid i and j:

    (|x - c_j|^2 - |x - c_i|^2) / (2 |c_i - c_j|) <= t.

So the cells that a point has to look into follow from the distance asked for, and only where they would be too many
is anything lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require
from kintsugi.core.randomness import draw_seed
from kintsugi.ops.neighbours import checked

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 2048  # points placed at a time


class Cells:
    """A partition of space.

    Args:
        count: cells; fewer where there are fewer than 4 points for each.
        axes: principal components that cells are made in.
        passes: k-means steps.
    """

    def __init__(self, count: int, axes: int = 64, *, passes: int = 8) -> None:
        require(count >= 1, "count", count, "at least 1 cell")
        require(axes >= 1, "axes", axes, "at least 1 axis")
        require(passes >= 1, "passes", passes, "at least 1 step")
        self.count, self.axes, self.passes = count, axes, passes
        self.basis = self.centre = self.centroids = np.zeros((0, 0), np.float32)

    def fit(self, sample: NDArray[Any], rng: np.random.Generator) -> Cells:
        """Find axes and centroids on a sample float ``[M, D]``; some 64 points a cell are enough."""
        from sklearn.cluster import KMeans

        sample = checked("sample", sample)
        if not len(sample):
            raise BadData("There are no vectors to make cells of:", "give at least one.")
        self.centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        apart = sample - self.centre
        _, axes = np.linalg.eigh((apart.T @ apart).astype(np.float64))
        self.basis = np.ascontiguousarray(axes[:, ::-1][:, : self.axes], np.float32)
        short = self.project(sample)
        distinct = np.unique(short, axis=0)
        cells = max(1, min(self.count, len(short) // 4, len(distinct)))
        means: Any = KMeans(cells, init="random", n_init=1, max_iter=self.passes, random_state=draw_seed(rng) % 2**32)
        self.centroids = np.asarray(means.fit(short).cluster_centers_, np.float32)
        return self

    def project(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates ``[N, axes]``; no two points are further apart in them than in space."""
        return np.asarray((points - self.centre).astype(np.float64) @ self.basis, np.float32)

    def place(self, short: NDArray[np.float32], probes: int, reach: float) -> NDArray[np.int32]:
        """The cells that a ball of radius ``reach`` around each point meets, the own one first, -1 behind the last.

        Args:
            short: coordinates ``[N, axes]``.
            probes: cells at most; the nearest planes come first.
            reach: radius.

        Returns:
            int32 ``[N, probes]``.
        """
        import torch

        probes = min(probes, len(self.centroids))
        centroids = torch.from_numpy(self.centroids).double()  # so that no answer hangs on how rows are batched
        square = (centroids * centroids).sum(1)
        between = torch.cdist(centroids, centroids)
        found = np.full((len(short), probes), -1, np.int32)
        for top in range(0, len(short), ROWS):
            part = torch.from_numpy(short[top : top + ROWS]).double()
            far = torch.addmm(square, part, centroids.T, alpha=-2)  # |x|^2 is missing, and cancels
            least, own = far.min(dim=1)
            plane = (far - least[:, None]) / (2 * between[own]).clamp_min(1e-12)
            plane.scatter_(1, own[:, None], -1.0)
            near, cell = plane.topk(probes, dim=1, largest=False, sorted=True)
            found[top : top + ROWS] = torch.where(near <= reach, cell, -1).numpy()
        return found


def by_cell(probed: NDArray[np.int32], cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that look into each cell, one cell after the other, and where each begins."""
    flat = probed.ravel()
    order = np.argsort(flat, kind="stable")
    order = order[np.searchsorted(flat[order], 0) :]
    start = np.searchsorted(flat[order], np.arange(cells + 1))
    return order // probed.shape[1], start
