"""Accuracy of every group, and the three usual ways of making one number of them.

Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020 (worst group, and the average
weighted by training shares); Ye et al., "Spurious Correlations in Machine Learning: A Survey", 2024. Worst group:
min_g acc_g. Group mean: (1 / |G|) sum_g acc_g. Training-weighted mean: sum_g p_train(g) acc_g.

A group's interval is Wilson's. The intervals of the three summaries come from draws of every group's accuracy from
Beta(k + 1/2, n - k + 1/2), the minimum chosen anew in every draw: it has spread even for a group of one sample, and
needs counts alone. A minimum over noisy groups lies below the true worst group, the more so the smaller the groups;
the interval is not corrected for it: where three groups are equally good it holds the truth in 68% of test sets
alone (`kintsugi prove group_accuracy`). To compare two classifiers use ``kintsugi compare``, which pairs the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.cells import Cells, check_draws, estimate
from kintsugi.ops.statistics import jeffreys_draws, percentile_interval, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = Card(
    name="group_accuracy",
    kind="metric",
    title="worst-group, group-mean and training-weighted accuracy, each with its interval",
    paper="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. ICLR 2020.",
    card=3,
    status="proven",
)


@dataclass
class GroupAccuracy:
    """Per-group accuracy and its summaries.

    Args:
        train: training samples of each group, for the training-weighted mean; None leaves that number out.
        draws: draws behind the summaries' intervals.
        seed: of those draws.
    """

    train: Sequence[int] | None = None
    draws: int = 2000
    seed: int = 0
    _cells: Cells = field(default_factory=Cells, init=False, repr=False)

    def __post_init__(self) -> None:
        check_draws(self.draws, self.seed)
        if self.train is not None:
            counts = np.asarray(self.train)
            ok = counts.ndim == 1 and counts.dtype.kind in "iu" and bool((counts >= 0).all()) and counts.sum() > 0
            require(ok, "train", self.train, "the number of training samples of each group")

    def update(self, prob: NDArray[Any], label: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]``, groups ``[B]``, both -1 where unknown."""
        self._cells.update(prob, label, group)

    def merge(self, other: GroupAccuracy) -> None:
        """Add what another accumulator saw."""
        self._cells.merge(other._cells)

    def compute(self) -> dict[str, Any]:
        """Worst-group accuracy under ``value`` (its group under ``group``), ``group_mean``, ``training_weighted``
        (None without training counts, or where a group of the training set has no sample here), ``average`` over
        samples, every group under ``groups``, and how many samples are of ``unknown`` group or label.
        """
        _, group, total, right = self._cells.table()
        names, member = np.unique(group, return_inverse=True)
        n, k = np.bincount(member, weights=total), np.bincount(member, weights=right)
        accuracy, (low, high) = k / n, wilson(k, n)
        drawn = jeffreys_draws(k, n, self.draws, numpy_rng(self.seed, "group_accuracy"))
        worst = int(accuracy.argmin())
        all_n, all_k = n.sum() + self._cells.unknown[0], k.sum() + self._cells.unknown[1]
        all_low, all_high = wilson(all_k, all_n)
        return {
            **estimate(
                accuracy[worst],
                percentile_interval(drawn.min(axis=1)),
                "the lowest accuracy of any group; the groups weigh nothing, so its size does not matter",
                group=int(names[worst]),
                count=int(n.sum()),
            ),
            "group_mean": estimate(
                accuracy.mean(), percentile_interval(drawn.mean(axis=1)), "mean over groups, each weighing the same"
            ),
            "training_weighted": self._weighted(names, accuracy, drawn),
            "average": estimate(
                all_k / all_n, (float(all_low), float(all_high)), "mean over samples, those of unknown group included"
            ),
            "groups": [
                {"group": int(g), "count": int(c), "value": float(a), "interval": (float(lo), float(hi))}
                for g, c, a, lo, hi in zip(names, n, accuracy, low, high, strict=True)
            ],
            "unknown": {"group": self._cells.unknown[0], "label": self._cells.unlabelled},
        }

    def _weighted(self, names: Any, accuracy: Any, drawn: Any) -> dict[str, Any] | None:
        if self.train is None:
            return None
        counts = np.asarray(self.train, dtype=np.float64)
        if not set(np.flatnonzero(counts)) <= set(names.tolist()):
            return None
        weight = np.array([counts[g] if g < len(counts) else 0.0 for g in names]) / counts.sum()
        rule = "mean over groups, each weighing its share of the training samples"
        return estimate(accuracy @ weight, percentile_interval(drawn @ weight), rule)
