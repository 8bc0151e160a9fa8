"""Accuracy on bias-conflicting samples: those whose attribute is not the one that goes with their class.

Nam et al., "Learning from Failure", NeurIPS 2020, in the definition of Ye et al., "Spurious Correlations in Machine
Learning: A Survey", 2024: a sample (y, a) is bias-aligned when a is the attribute most of the *training* samples of y
have, and conflicting otherwise. Groups may be the attribute itself or class crossed with attribute: within one class
both name the same cells.

On a balanced test set no attribute has a majority, so the training counts must be given; without them the samples seen
here decide, and a tie is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData
from kintsugi.metrics.cells import Cells, estimate, training_counts
from kintsugi.ops.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = Card(
    name="bias_conflicting",
    kind="metric",
    title="accuracy on samples whose attribute is not the one that goes with their class",
    paper="Ye et al. Spurious Correlations in Machine Learning: A Survey. 2024. arXiv 2402.12715",
    card=3,
)


@dataclass
class BiasConflicting:
    """Accuracy on bias-conflicting samples, beside that on bias-aligned ones.

    Args:
        train: training samples of each class and group, ``[K][G]``; None: the majority among the samples added counts.
    """

    train: Sequence[Sequence[int]] | None = None
    _cells: Cells = field(default_factory=Cells, init=False, repr=False)

    def __post_init__(self) -> None:
        training_counts(self.train)

    def update(self, prob: NDArray[Any], label: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]``, groups ``[B]``, both -1 where unknown."""
        self._cells.update(prob, label, group)

    def merge(self, other: BiasConflicting) -> None:
        """Add what another accumulator saw."""
        self._cells.merge(other._cells)

    def compute(self) -> dict[str, Any]:
        """Accuracy on conflicting samples under ``value``, on ``aligned`` ones beside it, and the group that each
        class's training samples mostly have under ``majority``.

        Raises:
            BadData: a class has no clear majority group, or no sample is conflicting.
        """
        label, group, total, right = self._cells.table()
        majority = {int(k): self._majority(int(k), group[label == k], total[label == k]) for k in np.unique(label)}
        conflicting = group != np.array([majority[int(k)] for k in label])
        if not conflicting.any():
            raise BadData(
                "No sample is bias-conflicting: every class has its majority group alone.", "Add samples of the others."
            )
        origin = "the samples seen" if self.train is None else "the training samples"
        answers = {}
        for name, mine in (("conflicting", conflicting), ("aligned", ~conflicting)):
            n, k = int(total[mine].sum()), int(right[mine].sum())
            low, high = wilson(k, n)
            rule = f"mean over {name} samples; a class's majority group is that of {origin}"
            answers[name] = estimate(k / n, (float(low), float(high)), rule, count=n) if n else None
        return {
            **(answers["conflicting"] or {}),
            "aligned": answers["aligned"],
            "majority": majority,
            "unknown": {"group": self._cells.unknown[0], "label": self._cells.unlabelled},
        }

    def _majority(self, label: int, group: Any, total: Any) -> int:
        train = training_counts(self.train)
        if train is not None:
            if label >= len(train) or not train[label].any():
                raise BadData(f"train has no samples of class {label}:", "give the counts of every class and group.")
            group, total = np.arange(train.shape[1]), train[label]
        first = np.flatnonzero(total == total.max())
        if len(first) > 1:
            raise BadData(
                f"The groups {', '.join(str(g) for g in group[first])} of class {label} are equally common "
                f"({total.max()} samples each): none is the majority.",
                "Give the training counts as train.",
            )
        return int(group[first[0]])
