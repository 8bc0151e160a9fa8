"""How much of the drop between two test sets is due to their shares of images with several valid labels.

Anzaku et al., "Re-assessing ImageNet: How Aligned Is Its Single-Label Assumption with Its Multi-Label Nature?", 2024.
With w_A(k), w_B(k) the shares of images that have k valid labels in test sets A and B, and a_k, b_k the mean scores on
them, the gap is sum_k w_A(k) a_k - sum_k w_B(k) b_k. Matched, B's images weigh as A's do: sum_k w_A(k) (a_k - b_k). The
rest, sum_k (w_A(k) - w_B(k)) b_k, is what the numbers of labels account for. Numbers of labels that only one of the
sets has cannot be matched: they are left out of the matched gap, and their share is told.

Intervals come from images drawn anew in each set. The decomposition takes the sets of labels at their word: where two
procedures made them, the shares of several labels may differ for that reason alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.cells import check_draws, estimate
from kintsugi.metrics.valid_labels import score_valid
from kintsugi.ops.statistics import percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CARD = Card(
    name="drop_decomposition",
    kind="metric",
    title="how much of the drop between two test sets their images with several labels account for",
    paper="Anzaku et al. Re-assessing ImageNet: How Aligned Is Its Single-Label Assumption. 2024.",
    card=17,
    uses=("multi_label_accuracy",),
    status="proven",
)
SCORES = ("top1", "valid", "variable_topk")


@dataclass
class DropDecomposition:
    """The gap in accuracy between two test sets, with and without their numbers of labels.

    Args:
        first: group number of test set A.
        second: group number of test set B.
        score: ``top1`` (the original label alone is right), ``valid`` (any valid label) or ``variable_topk``.
        draws: bootstrap draws.
        seed: of those draws.
    """

    first: int = 0
    second: int = 1
    score: str = "top1"
    draws: int = 2000
    seed: int = 0
    _seen: Counter[tuple[int, int, float]] = field(default_factory=Counter, init=False, repr=False)
    _left: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def __post_init__(self) -> None:
        require(isinstance(self.first, int) and self.first >= 0, "first", self.first, "a group number from 0")
        ok = isinstance(self.second, int) and self.second >= 0 and self.second != self.first
        require(ok, "second", self.second, "another group number from 0")
        one_of("score", self.score, SCORES)
        check_draws(self.draws, self.seed)

    def update(
        self,
        prob: NDArray[Any],
        label: NDArray[np.int64],
        group: NDArray[np.int64] | None = None,
        *,
        correct: NDArray[np.bool_] | None = None,
        unclear: NDArray[np.bool_] | None = None,
        skip: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add samples; ``group`` says of which test set each is, the others are as in `multi_label_accuracy`."""
        made = score_valid(prob, label, group, correct, unclear, skip)
        value = {"top1": made.top1, "valid": made.valid}.get(self.score, made.hits / np.maximum(made.k, 1))
        counts = (made.k > 0) & np.isin(made.group, (self.first, self.second)) & (value >= 0)
        keys = (made.group[counts].tolist(), made.k[counts].tolist(), value[counts].astype(float).tolist())
        self._seen.update(zip(*keys, strict=True))
        self._left.update(problematic=made.problematic, empty=made.empty, other=int((~counts).sum()))

    def merge(self, other: DropDecomposition) -> None:
        """Add what another accumulator saw."""
        self._seen.update(other._seen)
        self._left.update(other._left)

    def compute(self) -> dict[str, Any]:
        """The matched gap under ``value``; the whole ``gap``, what the numbers of labels account for under
        ``multi_label``, both sets by number of labels under ``by_k``, and the share of each set whose numbers the other
        lacks under ``unmatched`` (:class:`BadData` where that is all).
        """
        numbers = sorted({k for _, k, _ in self._seen})
        rng = numpy_rng(self.seed, "drop_decomposition")
        tables, drawn = [], []
        for which in (self.first, self.second):
            rows = [(numbers.index(k), v, n) for (g, k, v), n in sorted(self._seen.items()) if g == which]
            if not rows:
                raise BadData(f"Test set {which} has no sample:", "give each sample's test set as its group.")
            column = np.array(rows, dtype=np.float64)
            value, times = column[:, 1], column[:, 2]
            inside = np.eye(len(numbers))[column[:, 0].astype(np.int64)]
            again = rng.multinomial(int(times.sum()), times / times.sum(), size=self.draws)
            tables.append((times @ inside, (times * value) @ inside))
            drawn.append((again @ inside, (again * value) @ inside))
        if not ((tables[0][0] > 0) & (tables[1][0] > 0)).any():
            raise BadData(
                "The test sets share no number of labels: they cannot be matched.", "Compare sets labelled alike."
            )
        parts, redrawn = _parts(*tables), _parts(*drawn)
        rules = {
            "matched": "mean over images of the first set, the second's images weighing as those with as many labels",
            "gap": "mean over images of the first set less that of the second",
            "multi_label": "the gap less the matched gap",
        }
        answers = {}
        for name, rule in rules.items():
            low, high = percentile_interval(redrawn[name])
            whole = float(parts[name])
            answers[name] = estimate(whole, (min(low, whole), max(high, whole)), rule)
        (n, t), (m, s) = tables
        return {
            **answers["matched"],
            "count": int(n.sum() + m.sum()),
            "gap": answers["gap"],
            "multi_label": answers["multi_label"],
            "by_k": [
                {
                    "k": int(k),
                    "first": {"count": int(n[i]), "value": float(t[i] / n[i]) if n[i] else None},
                    "second": {"count": int(m[i]), "value": float(s[i] / m[i]) if m[i] else None},
                }
                for i, k in enumerate(numbers)
            ],
            "unmatched": {"first": float(n[m == 0].sum() / n.sum()), "second": float(m[n == 0].sum() / m.sum())},
            "left_out": {name: self._left[name] for name in ("problematic", "empty", "other")},
        }


def _parts(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> dict[str, Any]:
    """Gap, matched gap and rest of counts and sums by number of labels, ``[..., numbers]`` each."""
    (n, t), (m, s) = a, b
    both = (n > 0) & (m > 0)
    mean_a, mean_b = (np.divide(x, y, out=np.zeros(x.shape), where=y > 0) for x, y in ((t, n), (s, m)))
    weight = np.where(both, n, 0.0).sum(axis=-1)
    matched = (np.where(both, n, 0.0) * (mean_a - mean_b)).sum(axis=-1)
    matched = np.divide(matched, weight, out=np.full(matched.shape, np.nan), where=weight > 0)
    gap = t.sum(axis=-1) / n.sum(axis=-1) - s.sum(axis=-1) / m.sum(axis=-1)
    return {"gap": gap, "matched": matched, "multi_label": gap - matched}
