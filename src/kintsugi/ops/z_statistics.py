"""z of a discrete feature's value x with a label l: does l occur with x more often than it should? Closed forms alone.

Wu, Gardner, Stenetorp and Dasigi, "Generating Data to Mitigate Spurious Correlations in Natural Language Inference
Datasets", ACL 2022, after Gardner et al., "Competency Problems", EMNLP 2021:

    z(x, l) = (p(l|x) - p0) / sqrt(p0 (1 - p0) / n_x)

with n_x samples that have x. The papers take p0 = 1 / classes, which suits balanced labels; the label's own share suits
any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def z_statistics(counts: ArrayLike, prior: ArrayLike | None = None) -> NDArray[np.float64]:
    """z of every value with every label.

    Args:
        counts: samples with each value and label ``[V, K]``.
        prior: p0 of each label ``[K]``, or one for all; None for 1 / K.

    Returns:
        float64 ``[V, K]``; 0 where nothing could deviate (no such value, or p0 of 0 or 1).
    """
    table = np.asarray(counts, dtype=np.float64)
    p0 = np.asarray(1 / table.shape[1] if prior is None else prior, dtype=np.float64)
    return z_of(table, table.sum(axis=1, keepdims=True), p0)


def z_of(count: Any, total: Any, prior: Any) -> NDArray[np.float64]:
    """z of single cells: ``count`` of ``total`` samples with a value have the label of share ``prior``; any shapes."""
    k, n, p0 = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (count, total, prior)))
    spread = np.sqrt(n * p0 * (1 - p0))
    return np.divide(k - n * p0, spread, out=np.zeros(k.shape), where=spread > 0)
