"""AURRA: the area under the curve of accuracy against response rate, the least confident answers withheld first.

Hendrycks et al., "Natural Adversarial Examples", CVPR 2021: with answers ordered by confidence, the highest first,
A(r) is the accuracy of the first r; AURRA = (1 / N) sum_r A(r). A model that knows when it errs has much more than its
accuracy; one whose confidence says nothing has as much. Equal confidences stand for every order of them: their right
answers are spread evenly, which is the mean over the orders, so nothing is left to chance. The authors' code leaves out
the first point of the curve, from memory; we keep all.

The paper's other number, the root mean square calibration error over bins of 100 samples, is `calibration_error` with
``norm=2, binning="mass"`` and N / 100 bins. The interval is that of a bootstrap over samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.cells import check_draws, checked, estimate
from kintsugi.ops.statistics import percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CARD = Card(
    name="aurra",
    kind="metric",
    title="area under accuracy against response rate: does a model know when it errs?",
    paper="Hendrycks et al. Natural Adversarial Examples. CVPR 2021. arXiv 1907.07174",
    card=4,
    code="hendrycks/natural-adv-examples",
    status="not proven",
)


@dataclass
class Aurra:
    """Area under accuracy against response rate.

    Args:
        draws: bootstrap draws.
        seed: of those draws.
    """

    draws: int = 500
    seed: int = 0
    _seen: list[Floats] = field(default_factory=list, init=False, repr=False)
    _unlabelled: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_draws(self.draws, self.seed)

    def update(self, prob: NDArray[Any], label: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]``, -1 where unknown. Groups are not looked at."""
        p, y, _ = checked(prob, label, group)
        known = y >= 0
        self._unlabelled += int((~known).sum())
        if known.any():
            top = p[known].argmax(axis=1)
            self._seen.append(np.stack([p[known, top], top == y[known]], axis=1))

    def merge(self, other: Aurra) -> None:
        """Add what another accumulator saw."""
        self._seen.extend(other._seen)
        self._unlabelled += other._unlabelled

    def compute(self) -> dict[str, Any]:
        """The area under ``value``; ``accuracy``, which is what confidences that say nothing have; and accuracy at
        response rates of 25, 50 and 75% under ``at``.

        Raises:
            BadData: no sample with a known label was added.
        """
        if not self._seen:
            raise BadData("No sample with a known label was added:", "answers cannot be judged.")
        seen = np.concatenate(self._seen)
        seen = seen[np.lexsort((seen[:, 1], -seen[:, 0]))]  # one order, whatever order the samples came in
        level = np.unique(-seen[:, 0], return_inverse=True)[1].ravel()
        right, n = seen[:, 1], len(seen)
        curve = response_curve(level, right)
        rng = numpy_rng(self.seed, "aurra")
        drawn = []
        for _ in range(self.draws):
            rows = np.sort(rng.integers(0, n, size=n))
            drawn.append(float(response_curve(level[rows], right[rows]).mean()))
        value = float(curve.mean())
        low, high = percentile_interval(drawn)
        return estimate(
            value,
            (min(low, value), max(high, value)),
            "mean over response rates of the accuracy of the most confident answers; samples weigh the same",
            count=n,
            accuracy=float(right.mean()),
            at={str(rate): float(curve[max(0, round(rate * n) - 1)]) for rate in (0.25, 0.5, 0.75)},
            unknown={"label": self._unlabelled},
        )


def response_curve(level: NDArray[np.int64], right: Floats) -> Floats:
    """Accuracy of the first r answers, r = 1..N; answers of one level count as their mean.

    Args:
        level: rank of each answer's confidence, ascending, int64 ``[N]``.
        right: 1 where the answer is right, float ``[N]``.
    """
    start = np.flatnonzero(np.diff(level, prepend=level[0] - 1))
    size = np.diff(start, append=len(level))
    shared = np.repeat(np.add.reduceat(right, start) / size, size)
    made: Floats = np.cumsum(shared) / np.arange(1, len(level) + 1)
    return made
