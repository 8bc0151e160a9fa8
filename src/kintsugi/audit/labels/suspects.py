"""What the checks of labels share: the labelled samples with what is known of them, and how a finding is worded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.findings import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet


@dataclass(frozen=True)
class Given:
    """The samples with a label, and what a model said of them.

    Attributes:
        data: all samples.
        rows: those with a label, int ``[N]``.
        label: of these, int ``[N]``.
        prob: float64 ``[N, K]``.
        features: float32 ``[N, D]``, finite and not all equal, or None.
        notes: what a reader must know of the outputs.
    """

    data: ImageSet
    rows: NDArray[np.int64]
    label: NDArray[np.int64]
    prob: NDArray[np.float64]
    features: NDArray[np.float32] | None
    notes: tuple[str, ...]


def labelled(check: str, data: ImageSet, outputs: Outputs | None, *, seen: bool = False) -> Given:
    """The labelled samples.

    Args:
        check: who asks.
        data: the data.
        outputs: of it.
        seen: whether outputs of a model that was trained on these samples serve as well, for their features.

    Raises:
        BadArgument: there are no outputs, or they come from a model that has seen the samples and ``seen`` is not.
        BadData: outputs are missing for a sample, have another number of classes, or features are not finite.
    """
    if outputs is None:
        raise BadArgument(f"{check} needs outputs:", "give predictions of a model.")
    if outputs.held_out is False and not seen:
        raise BadArgument(
            "The outputs come from a model that was trained on these samples, which hides their wrong labels:",
            "give cross-validated or held-out predictions.",
        )
    given = outputs.take(data.ids)
    if given.prob.shape[1] != len(data.classes):
        raise BadData(
            f"prob has {given.prob.shape[1]} columns for {len(data.classes)} classes:", "map the classes first."
        )
    rows = np.flatnonzero(data.labels >= 0)
    notes = [f"Outputs: {outputs.source}."]
    if outputs.held_out is None and not seen:
        notes.append("Nobody said whether the model has seen these samples; if it has, wrong labels are hidden.")
    if len(rows) < len(data):
        notes.append(f"{len(data) - len(rows)} samples without a label were left out.")
    features = None
    if given.features is not None and len(rows):
        features = np.asarray(given.features[rows], dtype=np.float32)
        if not np.isfinite(features).all():
            raise BadData(f"{check} cannot use features that are not finite:", "leave out images that cannot be read.")
        if not (features.max(axis=0) > features.min(axis=0)).any():
            notes.append("All features are equal, and tell nothing.")
            features = None
    return Given(data, rows, data.labels[rows], np.asarray(given.prob[rows], np.float64), features, tuple(notes))


def suspect(
    given: Given, at: int, guess: int, score: float, flagged: bool, why: str, evidence: Mapping[str, Any]
) -> Finding:
    """The finding that the label of a sample (its place among the labelled ones) looks like another class."""
    names, label = given.data.classes, int(given.label[at])
    return Finding(
        subject="sample",
        ids=(given.data.ids[int(given.rows[at])],),
        score=float(np.clip(score, 0.0, 1.0)),
        flagged=bool(flagged),
        check="label_error",
        suggestion=f"relabel:{guess}",
        why=f"labelled {names[label]}, {why}",
        evidence={"label": names[label], "guess": names[guess], **evidence},
    )
