"""Every sample once an epoch, in a new random order: the default.

Batches are made as even as possible, so that no epoch ends in a batch of one or two samples, whose noisy gradient and
batch statistics would count as much as a full one's. ``last`` gives the usual ways instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="shuffled",
    kind="sampler",
    title="every sample once an epoch, in random order",
    paper="Bottou, Curiously Fast Convergence of Some Stochastic Gradient Descent Algorithms, SLDS 2009",
    card=0,
    status="baseline",
)


@dataclass
class Shuffled:
    """Random order without replacement.

    Args:
        last: ``even`` spreads the remainder over all batches (sizes differ by at most one), ``keep`` ends with a
            smaller batch, ``drop`` leaves the remainder out of this epoch (never the only batch).
    """

    last: str = "even"
    _count: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        one_of("last", self.last, ("even", "keep", "drop"))

    def setup(self, data: ImageSet) -> None:
        """Count the samples.

        Raises:
            BadData: there are none.
        """
        if not len(data):
            raise BadData("The training data holds no samples.", "Check the split and the filters.")
        self._count = len(data)

    def epoch(self, number: int, batch_size: int, rng: np.random.Generator) -> Iterable[NDArray[np.int64]]:
        """Index batches of at most ``batch_size`` rows."""
        order = rng.permutation(self._count)
        if self.last == "even":
            return np.array_split(order, -(-self._count // batch_size))
        batches = [order[start : start + batch_size] for start in range(0, self._count, batch_size)]
        if self.last == "drop" and len(batches) > 1 and len(batches[-1]) < batch_size:
            batches.pop()
        return batches
