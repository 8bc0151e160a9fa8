"""Groups in training: one column, ``group``, is what objectives, samplers, post-hoc repairs and the loop all read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData
from kintsugi.data.groups import Groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet


def with_groups(data: ImageSet, groups: Groups | NDArray[Any]) -> ImageSet:
    """A view whose column ``group`` holds the group of each sample, -1 where unknown."""
    index = groups.index if isinstance(groups, Groups) else np.asarray(groups, dtype=np.int64)
    return data.with_column("group", index)


def group_index(data: ImageSet) -> NDArray[np.int64] | None:
    """The group of each sample, int64 ``[N]``, -1 where unknown; None without a column ``group``.

    Names in that column are numbered in sorted order.
    """
    if "group" not in data.columns:
        return None
    column = data.column("group")
    if np.issubdtype(column.dtype, np.integer):
        return np.maximum(column.astype(np.int64), -1)
    return Groups.of({"group": column}).index


def known_groups(data: ImageSet, method: str) -> NDArray[np.int64]:
    """The group of each sample, for a method that cannot do without.

    Raises:
        BadData: there is no column ``group``, or it leaves samples out.
    """
    index = group_index(data)
    if index is None:
        raise BadData(
            f"{method} needs group labels, and the data has no column 'group'.",
            "Name attributes, or have groups inferred; in Python with_groups(data, ...) adds them.",
        )
    unknown = np.flatnonzero(index < 0)
    if len(unknown):
        raise BadData(
            f"{method} needs the group of every sample; {len(unknown)} have none, first {data.ids[int(unknown[0])]!r}.",
            "Leave these samples out, or infer their groups first.",
        )
    return index


def known_labels(data: ImageSet, method: str) -> NDArray[np.int64]:
    """The class of each sample, for a method that cannot do without.

    Raises:
        BadData: a sample has none.
    """
    unknown = np.flatnonzero(data.labels < 0)
    if len(unknown):
        raise BadData(
            f"{method} needs the label of every sample; {len(unknown)} have none, first {data.ids[int(unknown[0])]!r}.",
            "Leave these samples out, or give them soft labels and use soft_targets.",
        )
    return data.labels
