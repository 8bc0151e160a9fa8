"""Makes feature vectors shorter so that what is near stays near: SNIP's network, or principal components.

SNIP (Webster, Rabin, Simon and Jurie, "On the De-duplication of LAION-2B", 2023, arXiv:2303.12733) is a network of two
linear layers with a GELU between them, its output scaled to length 1. In a batch B the positive of x is its nearest
other member nn(x) in the original space ("subset nearest neighbour"), and

    L = -log( exp(f(x).f(nn(x)) / t) / sum_{z in B, z != x} exp(f(x).f(z) / t) ).

The authors publish inference alone: the loss, its temperature and the optimiser (AdamW, one cosine) follow their
description in words, and could not be compared. Of two batch members that are equally near the first is the positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.progress import task
from kintsugi.core.randomness import draw_seed, torch_rng
from kintsugi.ops.neighbours import checked, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHODS = ("snip", "pca", "none")
ROWS = 8192  # vectors that pass through the network at a time
SAMPLE = 200_000  # vectors that principal components are taken from, at most


class FeatureCompressor:
    """A map from feature vectors to shorter ones of length 1.

    Args:
        method: ``snip``, ``pca`` (the baseline), or ``none`` (scaled to length 1 and no more).
        size: length of the new vectors; vectors that are no longer than that keep theirs.
        hidden: width of the network's inner layer; None takes eight times ``size``, as 1024 to 128.
        steps: batches it learns from.
        batch_size: vectors of a batch; the larger it is, the nearer is the nearest.
        temperature: t.
        lr: largest learning rate.
        device: where the network runs.
    """

    def __init__(
        self,
        method: Literal["snip", "pca", "none"] = "snip",
        size: int = 128,
        *,
        hidden: int | None = None,
        steps: int = 600,
        batch_size: int = 512,
        temperature: float = 0.05,
        lr: float = 3e-3,
        device: str = "cpu",
    ) -> None:
        one_of("method", method, METHODS)
        require(size >= 1, "size", size, "at least 1")
        require(hidden is None or hidden >= 1, "hidden", hidden, "at least 1, or None")
        require(steps >= 1, "steps", steps, "at least 1 step")
        require(batch_size >= 3, "batch_size", batch_size, "at least 3 vectors")
        require(temperature > 0, "temperature", temperature, "a number above 0")
        require(lr > 0, "lr", lr, "a number above 0")
        self.method, self.size, self.steps, self.batch_size = method, size, steps, batch_size
        self.hidden = 8 * size if hidden is None else hidden
        self.temperature, self.lr, self.device = temperature, lr, device
        self.losses: list[float] = []
        self._map: Any = None

    def fit(self, features: NDArray[Any], rng: np.random.Generator) -> FeatureCompressor:
        """Learn from vectors float ``[N, D]`` (scaled to length 1); three or more for SNIP.

        ``losses`` holds the loss of each step of SNIP.
        """
        points = unit(checked("features", features))
        if len(points) < 3:
            raise BadData(f"There are {len(points)} vectors to learn a compressor from:", "give three or more.")
        self.losses = []
        if self.method == "none":
            self._map = points.shape[1]
        elif self.method == "pca":
            self._map = self._components(points, rng)
        else:
            self._map = self._network(points, rng)
        return self

    def transform(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Shorter vectors of length 1, float32 ``[N, size]``.

        Reckoned in double precision, so that a vector's answer does not hang on which others are asked with it.
        """
        if self._map is None:
            raise BadArgument("The compressor has learned nothing yet:", "call fit first.")
        points = unit(checked("features", features))
        if self.method == "none":
            return points
        if self.method == "pca":
            centre, axes = self._map
            return unit((points - centre).astype(np.float64) @ axes)
        return self._passed(points)

    def _components(
        self, points: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if len(points) > SAMPLE:
            points = points[np.sort(rng.choice(len(points), SAMPLE, replace=False))]
        centre = points.mean(axis=0, dtype=np.float64)
        apart = points - centre.astype(np.float32)
        _, axes = np.linalg.eigh((apart.T @ apart).astype(np.float64))
        return centre.astype(np.float32), np.ascontiguousarray(axes[:, ::-1][:, : self.size], np.float32)

    def _network(self, points: NDArray[np.float32], rng: np.random.Generator) -> Any:
        import torch
        from torch import nn
        from torch.nn import functional

        from kintsugi.models.seeded import seeded

        drawn = torch_rng(draw_seed(rng), "snip")
        size = min(self.size, points.shape[1])
        with seeded(drawn):
            net = nn.Sequential(nn.Linear(points.shape[1], self.hidden), nn.GELU(), nn.Linear(self.hidden, size))
        net = net.to(self.device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        count = min(self.batch_size, len(points))
        with task("learn to compress features", self.steps) as tracker:
            for _ in range(self.steps):
                rows = _distinct(len(points), count, drawn)
                batch = torch.from_numpy(points[rows]).to(self.device)
                alike = (batch @ batch.T).fill_diagonal_(-torch.inf)
                made = functional.normalize(net(batch), dim=1)
                logits = (made @ made.T / self.temperature).fill_diagonal_(-torch.inf)
                loss = functional.cross_entropy(logits, alike.argmax(dim=1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                self.losses.append(float(loss.detach()))
                tracker.advance()
        return net.double().eval()

    def _passed(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        made = np.zeros((len(points), min(self.size, points.shape[1])), np.float32)
        with torch.no_grad():
            for top in range(0, len(points), ROWS):
                part = torch.from_numpy(points[top : top + ROWS]).double().to(self.device)
                made[top : top + ROWS] = self._map(part).cpu().numpy()
        return unit(made)


def _distinct(count: int, wanted: int, rng: Any) -> NDArray[np.int64]:
    """Rows of a batch, none twice, in time that does not grow with ``count`` where it is large."""
    import torch

    if count <= 16 * wanted:
        return np.asarray(torch.randperm(count, generator=rng)[:wanted].numpy())
    return np.asarray(torch.randint(count, (wanted,), generator=rng).unique().numpy())
