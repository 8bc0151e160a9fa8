"""Quantiles of many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import require

if TYPE_CHECKING:
    from numpy.typing import NDArray


def row_quantile(values: NDArray[np.floating], share: float) -> NDArray[np.float64]:
    """What ``np.quantile(values, share, axis=1)`` gives, in a quarter of the time, float64 ``[N]``.

    NumPy looks for both neighbours of the place at once, for which its fast selection is not made. The one above is the
    least of those that the selection leaves behind the one below.

    Args:
        values: finite ``[N, M]``, M at least 1; their order is changed.
        share: 0 to 1.
    """
    require(0 <= share <= 1, "share", share, "a number from 0 to 1")
    place = share * (values.shape[1] - 1)
    below, part = int(place), place % 1
    values.partition(below, axis=1)
    low = values[:, below].astype(np.float64)
    if not part:
        return low
    high = values[:, below + 1 :].min(axis=1).astype(np.float64)
    return np.asarray(low + (high - low) * part)
