"""Groups of a training part, for the repairs that balance them: known by attributes, or inferred from the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.batch import Outputs
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.registry import find
from kintsugi.training.grouping import with_groups

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.data.groups import Groups
    from kintsugi.data.imageset import ImageSet

DISCOVERER = "george"


@dataclass(frozen=True)
class Grouped:
    """A training part whose column ``group`` names the group of every sample.

    Attributes:
        data: the samples of known group; the others are left out.
        groups: theirs, row for row.
        note: where the groups come from and how many there are, in a sentence without its full stop.
    """

    data: ImageSet
    groups: Groups
    note: str


def by_attributes(case: Case, data: ImageSet) -> Grouped:
    """Class by the case's attributes."""
    groups = case.groups(data)
    return _grouped(data, groups, f"groups by {' and '.join(('label', *case.attributes))}")


def inferred(case: Case, data: ImageSet, method: str = DISCOVERER) -> Grouped:
    """What a discoverer finds on data that the model may have been trained on.

    The model's own answers to samples it has learned hide its errors, so the discoverer is given its features with
    the answers of cross-validated heads. Nothing but ``data`` is looked at.

    Args:
        case: with a model that has weights.
        data: a training part.
        method: a discoverer that returns groups.
    """
    from kintsugi.models.cache import embed
    from kintsugi.models.encoder import ModelEncoder

    encoder: Any = ModelEncoder(case.need_model("training"))
    features = embed(encoder, data, cache=case.run.path("cache"), device=case.device)
    usable = np.flatnonzero(np.isfinite(features).all(axis=1) & (data.labels >= 0))
    part, features = data.select(usable), features[usable]
    outputs, _ = held_out_outputs(case, part, features)
    groups = find(method, "discoverer").load()()(part, outputs, numpy_rng(case.seed, "infer groups", method))
    note = f"groups inferred by {method} on the training part"
    if len(groups) <= len(np.unique(part.labels)):
        note += ", which split no class"
    return _grouped(part, groups, note)


def held_out_given(case: Case) -> bool:
    """Whether the case's predictions were given, and are said to be of samples that the model had not seen."""
    said = case.held_out if case.held_out is not None else getattr(case.model, "held_out", None)
    return bool(hasattr(case.model, "outputs") and said)


def held_out_outputs(
    case: Case, data: ImageSet, features: np.ndarray[Any, Any], copies: np.ndarray[Any, Any] | None = None
) -> tuple[Outputs, str]:
    """Outputs of heads that never saw the sample they answer for, and a sentence on where they come from.

    Predictions that were given and are said to be held out are taken at their word; otherwise logistic heads are
    cross-validated on frozen features.

    Args:
        case: whose predictions may be used.
        data: what to answer for.
        features: float ``[N, D]``, finite, row for row.
        copies: pairs of rows that show one picture and must lie in one fold; None where nobody knows.
    """
    if held_out_given(case):
        model: Any = case.model
        given: Outputs = model.outputs(data)
        made = Outputs(given.id, given.prob, features, True, given.source)
        return made, "the predictions given, said to be held out"
    from kintsugi.training.crossval import FOLDS, cross_val_outputs

    made = cross_val_outputs(
        features,
        data.labels,
        data.ids,
        len(data.classes),
        folds=min(FOLDS, int((data.labels >= 0).sum())),
        rng=numpy_rng(case.seed, "crossval"),
        groups=None if copies is None else [(int(a), int(b)) for a, b in copies],
    )
    return made, f"{made.source}, since the model may have seen these samples"


def _grouped(data: ImageSet, groups: Groups, source: str) -> Grouped:
    known = np.flatnonzero(groups.index >= 0)
    kept, groups = data.select(known), groups.take(known)
    note = f"{source}: {len(groups)}, the smallest of {int(groups.counts.min())}"
    if len(known) < len(data):
        note += f"; {len(data) - len(known)} samples of unknown group left out"
    return Grouped(with_groups(kept, groups), groups, note)
