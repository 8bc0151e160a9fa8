"""Accuracy where an image may have several valid labels: per class, over images, and of rankings.

Beyer et al., "Are We Done with ImageNet?", 2020 (ReaL); Vasudevan et al., "When Does Dough Become a Bagel? Analyzing
the Remaining Mistakes on ImageNet", NeurIPS 2022 (MLA); Anzaku et al., "Re-assessing ImageNet: How Aligned Is Its
Single-Label Assumption with Its Multi-Label Nature?", 2024. With L_i the labels of image i that are correct, U_i those
that are unclear, k_i = |L_i| and P_i the k_i classes ranked highest:

- MLA: 1[argmax in L_i or U_i], averaged over the images of each original class, then over classes; problematic images
  are left out;
- ReaL accuracy: the same, averaged over images; images without a valid label are left out, not counted wrong;
- variable top-k: |P_i and L_i| / k_i, averaged over images; exact match: 1[P_i = L_i];
- ASMA: the mean over k = 1, 2, ... of the mean variable top-k of the images with that k, each k weighing the same. The
  name is the paper's; equal weights are from memory.

Unclear classes are taken out of a ranking before its first k_i are: they are neither asked for nor held against it
(ours). k_i is known from the labels, so variable top-k judges rankings; nobody could answer so in use. Sets of labels
made by different procedures are not comparable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData
from kintsugi.metrics.cells import estimate
from kintsugi.metrics.strata import stratified_mean
from kintsugi.metrics.valid_labels import score_valid

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = Card(
    name="multi_label_accuracy",
    kind="metric",
    title="accuracy with several valid labels an image: per class (MLA), ReaL, variable top-k, ASMA",
    paper="Vasudevan et al. When Does Dough Become a Bagel? NeurIPS 2022; Anzaku et al. Re-assessing ImageNet. 2024.",
    card=17,
    code="google-research/reassessed-imagenet",
    status="proven",
)


@dataclass
class MultiLabelAccuracy:
    """Counts answers against sets of valid labels; without sets the original label is the only valid one."""

    _seen: Counter[tuple[int, int, int, int]] = field(default_factory=Counter, init=False, repr=False)
    _classes: Counter[tuple[int, int]] = field(default_factory=Counter, init=False, repr=False)
    _left: Counter[str] = field(default_factory=Counter, init=False, repr=False)

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
        """Add samples; :class:`kintsugi.data.label_sets.LabelSets` gives the flags.

        Args:
            prob: ``[B, K]``.
            label: original labels ``[B]``, -1 where unknown.
            group: not looked at.
            correct: bool ``[B, K]``; None for the original label alone.
            unclear: bool ``[B, K]``; None for none.
            skip: bool ``[B]``, problematic images; None for none.
        """
        made = score_valid(prob, label, group, correct, unclear, skip)
        self._seen.update(zip(*(v.tolist() for v in (made.k, made.hits, made.valid, made.top1)), strict=True))
        self._classes.update(zip(made.label.tolist(), made.valid.tolist(), strict=True))
        self._left.update(problematic=made.problematic, empty=made.empty)

    def merge(self, other: MultiLabelAccuracy) -> None:
        """Add what another accumulator saw."""
        self._seen.update(other._seen)
        self._classes.update(other._classes)
        self._left.update(other._left)

    def compute(self) -> dict[str, Any]:
        """MLA under ``value``; ``real``, ``top1``, ``variable_topk``, ``exact_match`` and ``asma`` beside it, each with
        its interval (None where it has no sample); every number of labels under ``by_k``, every class under
        ``classes``, and how many images were ``left_out`` or of ``unknown`` label.

        Raises:
            BadData: no image with a known and a valid label was added.
        """
        label = np.array(sorted({k for k, _ in self._classes if k >= 0}), dtype=np.int64)
        if not len(label):
            raise BadData("No image with a known and a valid label was added:", "accuracy cannot be measured.")
        right = np.array([self._classes[int(k), 1] for k in label])
        size = right + np.array([self._classes[int(k), 0] for k in label])
        value, interval = stratified_mean(size, right)
        table = np.array([(*key, times) for key, times in sorted(self._seen.items())], dtype=np.int64)
        k, hits, valid, top1, times = table.T
        known, ranked = top1 >= 0, k > 0
        share = np.divide(hits, k, out=np.zeros(len(k)), where=ranked)
        numbers = np.unique(k[ranked])
        by_k = [{"k": int(one), **self._of_k(k == one, hits == k, share, valid, top1, times)} for one in numbers]
        return {
            **estimate(
                value,
                interval,
                "mean over classes of the original label, each weighing the same; unclear labels count as right, "
                "problematic images and those without a valid label are left out",
                count=int(size.sum()),
            ),
            "real": _plain(valid, times, "mean over images with a valid label"),
            "top1": _plain(top1[known], times[known], "mean over images; the original label alone is right"),
            "variable_topk": _plain(
                share[ranked], times[ranked], "mean over images of the share of their k labels among the first k"
            ),
            "exact_match": _plain(
                (hits == k)[ranked], times[ranked], "mean over images whose first k classes are their k labels"
            ),
            "asma": self._asma(numbers, k, share, times),
            "by_k": by_k,
            "classes": [
                {"label": int(c), "count": int(n), "value": float(r / n)}
                for c, n, r in zip(label, size, right, strict=True)
            ],
            "left_out": {"problematic": self._left["problematic"], "empty": self._left["empty"]},
            "unknown": {"label": int(times[~known].sum())},
        }

    def _of_k(self, mine: Any, exact: Any, share: Any, valid: Any, top1: Any, times: Any) -> dict[str, Any]:
        n, known = times[mine], top1[mine] >= 0
        mean = {
            name: float(np.average(v[mine], weights=n))
            for name, v in (("real", valid), ("variable_topk", share), ("exact_match", exact))
        }
        first = float(np.average(top1[mine][known], weights=n[known])) if known.any() else None
        return {"count": int(n.sum()), "top1": first, **mean}

    def _asma(self, numbers: Any, k: Any, share: Any, times: Any) -> dict[str, Any] | None:
        if not len(numbers):
            return None
        sums = [[float((v * times)[k == one].sum()) for one in numbers] for v in (np.ones(len(k)), share, share**2)]
        value, interval = stratified_mean(*sums)
        rule = "mean over numbers of labels of the mean variable top-k, each number weighing the same"
        return estimate(value, interval, rule)


def _plain(score: Any, times: Any, rule: str) -> dict[str, Any] | None:
    """A plain mean of scores in 0..1, each occurring ``times``."""
    if not times.sum():
        return None
    sums = ([float((v * times).sum())] for v in (np.ones(len(times)), score, np.square(score, dtype=np.float64)))
    value, interval = stratified_mean(*sums)
    return estimate(value, interval, rule, count=int(times.sum()))
