"""Real answers of one net as a population: small test sets are drawn from it, and what is true of it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.randomness import torch_rng
from kintsugi.prove.small import digits, trained, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISES = (0.0, 0.25, 0.45)  # of three cameras, in which the digits lose accuracy more and more
DATA = (
    "scikit-learn's handwritten digits, 8 px: a net trained on 400 answers for the 1397 others as three cameras see "
    "them, clean and with noise of 0.25 and 0.45; test sets are drawn from these answers with replacement"
)


@dataclass(frozen=True)
class Population:
    """Answers to be drawn from.

    Attributes:
        prob: probabilities, float64 ``[N, K]``.
        label: classes, int64 ``[N]``.
        group: cameras, int64 ``[N]`` in 0..2.
    """

    prob: NDArray[np.float64]
    label: NDArray[np.int64]
    group: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are right, bool ``[N]``."""
        return np.asarray(self.prob.argmax(axis=1) == self.label)

    def take(self, rows: NDArray[np.int64]) -> Population:
        """Some of the answers."""
        return Population(self.prob[rows], self.label[rows], self.group[rows])

    def draw(self, n: int, rng: np.random.Generator) -> Population:
        """``n`` answers, with replacement."""
        return self.take(rng.integers(len(self.label), size=n))

    def measured(self, metric: Any) -> dict[str, Any]:
        """What a fresh metric says of these answers."""
        metric.update(self.prob, self.label, self.group)
        answer: dict[str, Any] = metric.compute()
        return answer


def population(seed: int) -> Population:
    """The answers of a net trained anew for a seed."""
    train, test = digits(seed, train=400)
    model, batch = trained(train, seed), whole(test)
    prob = []
    with torch.no_grad():
        for noise in NOISES:
            added = noise * torch.randn(batch.image.shape, generator=torch_rng(seed, "camera", str(noise)))
            prob.append(model((batch.image + added).clamp(0.0, 1.0)).double().softmax(1).numpy())
    label = np.tile(test.labels, len(NOISES))
    return Population(np.concatenate(prob), label, np.repeat(np.arange(len(NOISES)), len(test)))


def covers(interval: tuple[float, float], truth: float) -> bool:
    """Whether an interval holds the truth, rounding aside."""
    return interval[0] - 1e-9 <= truth <= interval[1] + 1e-9
