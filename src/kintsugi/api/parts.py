"""Which samples train, which select, and which are locked away for the one final proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet

# The names data sets use for the three roles.
NAMES = {
    "train": ("train", "training", "trn"),
    "select": ("select", "selection", "val", "valid", "validation", "dev"),
    "holdout": ("holdout", "hold-out", "test", "testing", "eval"),
}


@dataclass(frozen=True)
class Parts:
    """The three parts of a data set.

    Attributes:
        train: what repairs learn from.
        select: what the best repair is chosen on.
        holdout: opened once, for the chosen repair.
        notes: how they were made, where the data did not say.
    """

    train: ImageSet
    select: ImageSet
    holdout: ImageSet
    notes: tuple[str, ...] = ()


def divide(data: ImageSet, *, seed: int = 0, cluster: str | None = None) -> Parts:
    """The data's own splits by their usual names; what is missing is cut off at random.

    Without a split column 60% train, 20% select, 20% hold out. With train and test only, a fifth of train selects.
    With train and validation only, half of validation is held out. Classes keep their shares; samples of one
    ``cluster`` (a column: patient, source image, burst) stay together.

    Raises:
        BadArgument: ``cluster`` is no column.
        BadData: there is no training part, or a part would be empty.
    """
    if cluster is not None:
        data.column(cluster)
    rows = _named(data)
    notes: list[str] = []
    if not rows:
        everything = np.arange(len(data))
        rows["train"], rest = _cut(data, everything, 0.4, seed, cluster)
        rows["select"], rows["holdout"] = _cut(data, rest, 0.5, seed + 1, cluster)
        notes.append("The data names no splits: 60% were drawn to train, 20% to select, 20% to prove.")
    elif "train" not in rows:
        known = sorted({str(value) for value in data.column("split")})
        raise BadData(f"No split is for training (found {', '.join(known)}).", "Call it 'train', or leave --split out.")
    elif "select" not in rows and "holdout" not in rows:
        rows["train"], rest = _cut(data, rows["train"], 0.4, seed, cluster)
        rows["select"], rows["holdout"] = _cut(data, rest, 0.5, seed + 1, cluster)
        notes.append("The data has a training split only: 20% of it were drawn to select and 20% to prove.")
    elif "select" not in rows:
        rows["train"], rows["select"] = _cut(data, rows["train"], 0.2, seed, cluster)
        notes.append("The data has no validation split: a fifth of the training split was drawn to select.")
    elif "holdout" not in rows:
        rows["select"], rows["holdout"] = _cut(data, rows["select"], 0.5, seed, cluster)
        notes.append("The data has no test split: half of the validation split was locked away to prove.")
    for name, chosen in rows.items():
        if not len(chosen):
            raise BadData(f"The part that would {name} is empty ({len(data)} samples in all).", "Give more data.")
    train, select, holdout = (data.select(np.sort(rows[name])) for name in ("train", "select", "holdout"))
    return Parts(train, select, holdout, tuple(notes))


def _named(data: ImageSet) -> dict[str, np.ndarray[Any, Any]]:
    if "split" not in data.columns:
        return {}
    values = [str(value).strip().lower() for value in data.column("split")]
    roles = {name: role for role, names in NAMES.items() for name in names}
    # WILDS and Waterbirds write 0, 1, 2.
    if set(values) <= {"0", "1", "2"}:
        roles |= {"0": "train", "1": "select", "2": "holdout"}
    unknown = sorted({value for value in values if value not in roles})
    if unknown:
        raise BadArgument(
            f"The split {unknown[0]!r} is none of the usual names.",
            "Use train, validation and test (or 0, 1, 2), or leave --split out.",
        )
    found = np.array([roles[value] for value in values])
    return {role: np.flatnonzero(found == role) for role in NAMES if (found == role).any()}


def _cut(
    data: ImageSet, rows: np.ndarray[Any, Any], share: float, seed: int, cluster: str | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cut off a share of the rows, class by class, clusters whole: what stays, what is cut off."""
    rng = numpy_rng(seed, "divide")
    names = data.column(cluster)[rows] if cluster is not None else rows
    _, first, member = np.unique(np.asarray(names, dtype=str), return_index=True, return_inverse=True)
    label = data.labels[rows][first]  # a cluster counts for the class of its first sample
    gone = np.zeros(len(first), dtype=bool)
    for k in np.unique(label):
        mine = rng.permutation(np.flatnonzero(label == k))
        gone[mine[: round(share * len(mine))]] = True
    return rows[~gone[member]], rows[gone[member]]
