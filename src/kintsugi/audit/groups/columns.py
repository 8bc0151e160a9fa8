"""How the checks of this folder read columns: which are attributes, their values as numbers, and the splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

UNKNOWN = "(unknown)"  # a missing value is a value of its own


def codes(data: ImageSet, name: str, rows: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Values of a column in order, and the number of each row's."""
    text = np.array([UNKNOWN if v is None or v == "" else str(v) for v in data.column(name)[rows]], dtype=object)
    values, code = np.unique(text.astype(str), return_inverse=True)
    return [str(value) for value in values], code.astype(np.int64)


def attributes(data: ImageSet, wanted: Sequence[str] | None, most: int) -> tuple[list[str], list[str]]:
    """Columns to look at, and those with too many values to be attributes.

    Args:
        data: the samples.
        wanted: named columns; None for all with 2 to ``most`` values.
        most: more values make a column an id; so does more than one value in five samples.
    """
    if wanted is not None:
        return list(wanted), []
    sizes = {name: len(codes(data, name, np.arange(len(data)))[0]) for name in data.attributes}
    limit = min(most, max(2, len(data) // 5))
    return [n for n, k in sizes.items() if 2 <= k <= limit], [n for n, k in sizes.items() if k > limit]


def parts(data: ImageSet) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each split's name for messages and its rows; all rows where there are no splits."""
    if "split" not in data.columns:
        yield "", np.arange(len(data))
        return
    split = data.column("split").astype(str)
    for name in dict.fromkeys(split.tolist()):
        yield f"{name}: ", np.flatnonzero(split == name)
