"""Linear discriminant analysis with weights on samples, each fold judged by what the others say.

With class means m_c, shares s_c and one covariance S of all classes, all weighted, the logit of class c is
z'S^-1 m_c - m_c'S^-1 m_c / 2 + log s_c (Fisher 1936; Welch 1939). S is drawn towards the mean variance,
(1 - a) S + a tr(S)/D I, so that it has an inverse whatever the features. It costs one pass over the samples and one
D x D system a fold, however many classes there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 16_384  # rows looked at together


def held_out_discriminant(
    features: NDArray[Any],
    label: NDArray[np.int64],
    weight: NDArray[Any],
    fold: NDArray[np.int64],
    classes: int,
    *,
    shrinkage: float = 0.1,
) -> NDArray[np.float32]:
    """Logits of every class for every sample, from the samples of the other folds, float32 ``[N, K]``.

    Args:
        features: float ``[N, D]``, finite; columns that never change are left out, the others standardised.
        label: int ``[N]`` in 0..K-1.
        weight: how far each label is believed, 0 or more, ``[N]``.
        fold: a number each, int ``[N]``.
        classes: K. A class without weight in the other folds gets the lowest logit of the rest.
        shrinkage: a, above 0, to 1.
    """
    require(0 < shrinkage <= 1, "shrinkage", shrinkage, "a number above 0, to 1")
    logits = np.zeros((len(label), classes), dtype=np.float32)
    point = _Standard(features)
    if not len(label) or not point.varied.any():
        return logits
    parts = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    moments = [_moments(point, label, weight, rows, classes) for rows in parts]
    total = [sum(each) for each in zip(*moments, strict=True)]
    for rows, own in zip(parts, moments, strict=True):
        mass, sums, square = (all_ - mine for all_, mine in zip(total, own, strict=True))
        mass = np.where(mass > 1e-9, mass, 0.0)
        if not mass.any():
            continue
        mean = sums / np.where(mass > 0, mass, 1)[:, None]
        mean[mass == 0] = 0
        within = (square - (mean * mass[:, None]).T @ mean) / mass.sum()
        level = max(float(np.trace(within)) / len(within), 1e-9)
        within = (1 - shrinkage) * within + shrinkage * level * np.eye(len(within))
        slope = np.linalg.solve(within, mean.T)
        start = np.log(np.where(mass > 0, mass, 1) / mass.sum()) - np.einsum("kd,dk->k", mean, slope) / 2
        for top in range(0, len(rows), _BLOCK):
            part = rows[top : top + _BLOCK]
            made = point.of(part) @ slope + start
            made[:, mass == 0] = made[:, mass > 0].min(axis=1, keepdims=True)
            logits[part] = made
    return logits


class _Standard:
    """Standardised rows on demand, without the columns that never change: features may fill most of the memory."""

    def __init__(self, features: NDArray[Any]) -> None:
        total, top = np.zeros(features.shape[1]), np.zeros(features.shape[1])
        for start in range(0, len(features), _BLOCK):
            block = np.asarray(features[start : start + _BLOCK], dtype=np.float64)
            total += block.sum(axis=0)
            top = np.maximum(top, np.abs(block).max(axis=0))
        self.features, self.centre, count = features, total / max(1, len(features)), max(1, len(features))
        square = np.zeros(features.shape[1])
        for start in range(0, len(features), _BLOCK):
            square += ((np.asarray(features[start : start + _BLOCK], np.float64) - self.centre) ** 2).sum(axis=0)
        spread = np.sqrt(square / count)
        self.varied = spread > 1e-6 * top
        self.spread = spread[self.varied]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rows ``[n, D]``."""
        block = np.asarray(self.features[rows], dtype=np.float64) - self.centre
        return np.asarray(block[:, self.varied] / self.spread)


def _moments(
    point: _Standard, label: NDArray[np.int64], weight: NDArray[Any], rows: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weight and weighted sum of each class, and the weighted second moment of all."""
    from scipy.sparse import csr_matrix

    dim = len(point.spread)
    sums, square = np.zeros((classes, dim)), np.zeros((dim, dim))
    for top in range(0, len(rows), _BLOCK):
        part = rows[top : top + _BLOCK]
        block, w = point.of(part), np.asarray(weight[part], dtype=np.float64)
        sums += csr_matrix((w, (label[part], np.arange(len(part)))), shape=(classes, len(part))) @ block
        square += (block * w[:, None]).T @ block
    return np.bincount(label[rows], weights=weight[rows], minlength=classes).astype(np.float64), sums, square
