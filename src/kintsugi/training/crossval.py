"""Outputs of which every row was made by a head that never saw its sample: k-fold heads on frozen features.

Label audits need out-of-sample probabilities. Where the model itself was trained on the samples, logistic heads on
its (or another encoder's) frozen features give them, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadData, require
from kintsugi.core.progress import track
from kintsugi.core.side_by_side import on_all_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray


FOLDS = 5
ROOM = 2**31  # bytes that heads trained at the same time may take


def cross_val_outputs(
    features: NDArray[Any],
    label: NDArray[np.int64],
    ids: Sequence[str],
    num_classes: int,
    *,
    folds: int = FOLDS,
    rng: np.random.Generator,
    C: float = 1.0,
    groups: NDArray[np.int64] | Sequence[tuple[int, int]] | None = None,
) -> Outputs:
    """Held-out probabilities by stratified k-fold logistic regression on standardised features.

    A class all of whose samples lie in the fold held out is unknown to that fold's head, which then gives it the share
    it has in the whole set: a lone sample is neither accused nor cleared. Samples without a label are predicted by
    every head, and averaged.

    Args:
        features: float ``[N, D]``, finite.
        label: int ``[N]``, -1 where unknown.
        ids: one a sample.
        num_classes: K.
        folds: from 2 to the number of labelled samples.
        rng: shuffles the folds.
        C: inverse strength of the L2 penalty, above 0.
        groups: samples that must lie in one fold, such as duplicates: a group number each (-1: alone), or pairs of
            rows, of which chains count as one group.

    Returns:
        Outputs with the features, ``held_out=True`` and the source in words.

    Raises:
        BadData: features are not finite, or fewer than two classes have labels.
        BadArgument: ``folds`` or ``C`` is out of range.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    label = np.asarray(label, dtype=np.int64)
    known = np.flatnonzero(label >= 0)
    require(2 <= folds <= max(2, len(known)), "folds", folds, f"2 to {len(known)}, the labelled samples")
    require(C > 0, "C", C, "a number above 0")
    _check(features, label, ids, num_classes)
    part = assign_folds(label, folds, rng, _numbered(groups, len(label)))
    share = np.bincount(label[known], minlength=num_classes) / len(known)
    prob = np.zeros((len(label), num_classes))

    def answered(fold: int) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        train, test = known[part[known] != fold], known[part[known] == fold]
        seen = np.unique(label[train])
        if not len(test):
            return None
        rows = np.concatenate((test, np.flatnonzero(label < 0)))
        made = np.tile(share, (len(rows), 1))
        if len(seen) > 1:
            head = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
            head.fit(features[train], label[train])
            made[:, seen] = head.predict_proba(features[rows]) * share[seen].sum()
        return rows, made / made.sum(axis=1, keepdims=True)

    most = max(1, ROOM // max(1, 3 * features.nbytes))
    answers = [
        each for each in track(on_all_cores(answered, range(folds), most=most), f"{folds}-fold heads", folds) if each
    ]
    for rows, made in answers:
        prob[rows] += made
    heads = len(answers)
    prob[label < 0] /= heads
    return Outputs(
        list(ids),
        prob.astype(np.float32),
        np.asarray(features, dtype=np.float32),
        held_out=True,
        source=f"{folds}-fold heads on frozen features",
    )


def _check(features: NDArray[Any], label: NDArray[np.int64], ids: Sequence[str], num_classes: int) -> None:
    if features.ndim != 2 or not len(features) == len(label) == len(ids):
        raise BadData(
            f"features has shape {features.shape} for {len(label)} labels and {len(ids)} ids:", "give one row each."
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise BadData(
            f"features is not finite for {len(bad)} samples, first {ids[int(bad[0])]!r}:",
            "leave out the images that cannot be read.",
        )
    if label.max(initial=-1) >= num_classes:
        raise BadData(f"The label {label.max()} is outside the {num_classes} classes.", "Give the full class list.")
    if len(np.unique(label[label >= 0])) < 2:
        raise BadData("Fewer than two classes have labelled samples.", "A head needs at least two.")


def assign_folds(
    label: NDArray[np.int64], folds: int, rng: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """A fold 0..folds-1 for each sample: classes spread evenly, groups whole. int64 ``[N]``.

    Groups go first, the largest ahead, each to the fold with the fewest of its classes; then single samples fill up.
    """
    part = np.full(len(label), -1, dtype=np.int64)
    classes = int(label.max(initial=-1)) + 2  # unlabelled samples (-1) are spread as a class of their own
    count = np.zeros((folds, classes), dtype=np.int64)
    groups = np.full(len(label), -1, dtype=np.int64) if groups is None else groups
    names, sizes = np.unique(groups[groups >= 0], return_counts=True)
    by_group = np.argsort(groups, kind="stable")[len(groups) - int(sizes.sum()) :]  # those in none stand first
    members = np.split(by_group, np.cumsum(sizes)[:-1])
    order = rng.permutation(len(names))
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        rows = members[group]
        need = np.bincount(label[rows] % classes, minlength=classes)
        cost = (count * need).sum(axis=1)
        fold = int(np.lexsort((rng.permutation(folds), count.sum(axis=1), cost))[0])
        part[rows] = fold
        count[fold] += need
    total = count.sum(axis=1).tolist()
    for k in np.unique(label % classes).tolist():
        rows = rng.permutation(np.flatnonzero((label % classes == k) & (part < 0)))
        lots = rng.permuted(np.tile(np.arange(folds), (len(rows), 1)), axis=1).tolist()
        own, chosen = count[:, k].tolist(), []
        # Filling the emptiest first; ties go to the folds that are smaller in all, then by lot.
        for lot in lots:
            fold = min(zip(own, total, lot, range(folds), strict=True))[3]
            chosen.append(fold)
            own[fold] += 1
            total[fold] += 1
        part[rows] = chosen
    return part


def _numbered(groups: Any, total: int) -> NDArray[np.int64] | None:
    """Group numbers from either form of ``groups``."""
    if groups is None:
        return None
    given = np.asarray(groups, dtype=np.int64)
    if given.ndim == 1 and len(given) == total:
        return given
    if not len(given):
        return None
    if given.ndim != 2 or given.shape[1] != 2 or given.min() < 0 or given.max() >= total:
        raise BadData(
            f"groups has shape {given.shape} for {total} samples:", "give a number each, or pairs of row numbers."
        )
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(given)), (given[:, 0], given[:, 1])), shape=(total, total))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
