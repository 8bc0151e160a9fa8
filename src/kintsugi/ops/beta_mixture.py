"""A mixture of two beta distributions on losses: the low are of right labels, the high of wrong ones.

Arazo, Ortego, Albert, O'Connor and McGuinness, "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019,
section 3.1, with constants from the authors' code (PaulAlbert31/LabelNoiseCorrection, utils.py). Losses are cut to
their 5th and 95th percentiles [lo, hi] and scaled, x = (l - lo) / (hi - lo), to [1e-4, 1 - 1e-4]. From alpha = (1, 2),
beta = (2, 1) and equal shares, ten rounds of expectation and, in place of maximisation, weighted moments (equations 8
and 9): alpha = m (m (1 - m) / s2 - 1), beta = alpha (1 - m) / m. The posterior of the second component is read from a
table of 100 points; beyond its maximum it stays there, since far out in the tail the narrower component may lose its
lead and very high losses would be called clean.

Ten rounds are part of the method: with more, the 5% of losses that the cut heaps up at 1 bend the second component
into a U that takes low losses too; already after ten its share comes out too high (0.43 for 0.30 on drawn losses).

Ours: below its minimum the posterior stays there too, since a U would call the lowest losses wrong; parameters are
kept above 1e-3, and a component whose share vanishes keeps its last parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE = 1e-4
POINTS = 100
PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True)
class Fitted:
    """A mixture that was fitted.

    Attributes:
        low: lowest loss, the 5th percentile.
        high: highest loss, the 95th percentile.
        alpha: of the two components.
        beta: of the two components.
        share: of the two components, summing to 1.
    """

    low: float
    high: float
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    share: NDArray[np.float64]

    def scaled(self, loss: NDArray[Any]) -> NDArray[np.float64]:
        """Losses as the mixture sees them, in ``EDGE..1 - EDGE``."""
        x = (np.asarray(loss, dtype=np.float64) - self.low) / (self.high - self.low)
        return np.clip(x, EDGE, 1 - EDGE)

    def table(self) -> NDArray[np.float64]:
        """Posterior of the component of high losses at ``POINTS`` scaled losses, flat beyond its extremes."""
        grid = np.linspace(EDGE, 1 - EDGE, POINTS)
        table = _responsibility(grid, self.alpha, self.beta, self.share)[1]
        bottom = int(table.argmin())
        table[:bottom] = table[bottom]
        top = bottom + int(table[bottom:].argmax())
        table[top:] = table[top]
        return np.clip(table, EDGE, 1 - EDGE)

    def wrong(self, loss: NDArray[Any]) -> NDArray[np.float64]:
        """Posterior of the component of high losses for each loss, in ``EDGE..1 - EDGE``."""
        place = np.minimum((self.scaled(loss) * POINTS).astype(np.int64), POINTS - 1)
        return np.asarray(self.table()[place])


@dataclass(frozen=True)
class BetaMixture1D:
    """Fits the mixture.

    Args:
        rounds: of expectation and moments.
    """

    rounds: int = 10

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", self.rounds, "1 or more")

    def fit(self, loss: NDArray[Any]) -> Fitted:
        """The mixture of these losses, float ``[N]``.

        Raises:
            BadData: losses are not finite, or the 5th and 95th percentile are the same.
        """
        loss = np.asarray(loss, dtype=np.float64)
        if not len(loss) or not np.isfinite(loss).all():
            raise BadData("Losses are missing or not finite:", "give one finite number a sample.")
        low, high = np.percentile(loss, PERCENTILES)
        if not high > low:
            raise BadData(f"Nine in ten losses are {low:.4g}:", "there are no two kinds of them to tell apart.")
        alpha, beta, share = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5])
        x = Fitted(float(low), float(high), alpha, beta, share).scaled(loss)
        for _ in range(self.rounds):
            weight = _responsibility(x, alpha, beta, share)
            mass = weight.sum(axis=1)
            alive = mass > 1e-9
            mean = np.where(alive, weight @ x / np.maximum(mass, 1e-9), 0.5)
            spread = (weight * (x - mean[:, None]) ** 2).sum(axis=1) / np.maximum(mass, 1e-9)
            new = mean * (mean * (1 - mean) / np.maximum(spread, 1e-12) - 1)
            alpha = np.where(alive, np.maximum(new, 1e-3), alpha)
            beta = np.where(alive, np.maximum(new * (1 - mean) / mean, 1e-3), beta)
            share = mass / mass.sum()
        return Fitted(float(low), float(high), alpha, beta, share)


def _responsibility(
    x: NDArray[np.float64], alpha: NDArray[np.float64], beta: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Posterior of each component, ``[2, N]``."""
    from scipy.special import betaln, softmax

    density = (alpha - 1)[:, None] * np.log(x) + (beta - 1)[:, None] * np.log1p(-x) - betaln(alpha, beta)[:, None]
    return np.asarray(softmax(density + np.log(np.maximum(share, 1e-300))[:, None], axis=0))
