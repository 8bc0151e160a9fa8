"""Rates, accuracies and agreement from reviewers' votes: what `audit_protocol` concludes, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.protocol.votes import VERDICTS
from kintsugi.core.findings import Finding
from kintsugi.metrics.strata import stratified_mean
from kintsugi.ops.agreement import fleiss_kappa, mean_pair_kappa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet


def class_weighted(
    data: ImageSet, label: NDArray[np.int64], wrong: NDArray[np.bool_]
) -> tuple[float, tuple[float, float], float]:
    """Share of wrong labels, classes weighing what they hold; its interval; and the share of images in those classes.

    Args:
        data: all of it.
        label: of each sample that was drawn by lot and judged, int64 ``[n]``.
        wrong: what is counted, bool ``[n]``.
    """
    size = np.bincount(data.labels[data.labels >= 0], minlength=len(data.classes))
    seen = np.unique(label)
    n = np.bincount(label, minlength=len(size))[seen]
    bad = np.bincount(label, weights=wrong, minlength=len(size))[seen]
    value, interval = stratified_mean(n, bad, weight=size[seen] / size[seen].sum(), population=size[seen])
    return value, interval, float(size[seen].sum() / size.sum())


def agreement_note(table: NDArray[np.int64]) -> str:
    """Agreement among reviewers in a sentence; ``table`` is :func:`verdict_table`'s."""
    counts = np.stack([(table == k).sum(axis=1) for k in range(len(VERDICTS))], axis=1)
    fleiss, cohen = fleiss_kappa(counts), mean_pair_kappa(table)
    if fleiss is None and cohen is None:
        return "Agreement cannot be told: no two reviewers differed on anything, or none shared an image."
    parts = [
        f"{name} {value:.2f}"
        for name, value in (("Fleiss' kappa", fleiss), ("mean Cohen's kappa", cohen))
        if value is not None
    ]
    return f"{table.shape[1]} reviewers: {', '.join(parts)}."


def accuracies(
    data: ImageSet,
    outputs: Outputs,
    judged: NDArray[np.int64],
    right: NDArray[np.int64],
    overlapping: Sequence[Sequence[str]],
) -> Iterator[Finding]:
    """Accuracy on what was drawn by lot: as labelled, on correct labels alone, and with overlapping classes merged."""
    merged = np.arange(len(data.classes))
    for part in overlapping:
        members = [data.classes.index(name) for name in part]
        merged[members] = min(members)
    for name, rows, to in (
        ("as_labelled", judged, None),
        ("correct_only", right, None),
        ("correct_only_merged", right, merged if overlapping else None),
    ):
        if not len(rows) or (name.endswith("merged") and to is None):
            continue
        label, answer = data.labels[rows], outputs.predicted[rows]
        hits = answer == label if to is None else to[answer] == to[label]
        value, (low, high), _ = class_weighted(data, label, hits)
        why = f"accuracy {name.replace('_', ' ')}: {value:.1%} ({low:.1%} to {high:.1%}) of {len(rows)} images"
        evidence = {"accuracy": value, "low": low, "high": high, "count": len(rows)}
        yield Finding("dataset", (name,), 1 - value, False, "reviewed_accuracy", "review", why, evidence)
