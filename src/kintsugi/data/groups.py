"""`Groups`: which sample is in which group, from attribute columns or inferred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Groups:
    """A partition of a data set.

    Attributes:
        index: int64 ``[N]``, group of each sample, -1 where unknown.
        names: one name a group, such as ``label=cat, place=beach``.
        source: ``attributes`` or the name of the method that inferred them.
    """

    index: NDArray[np.int64]
    names: tuple[str, ...]
    source: str = "attributes"

    def __post_init__(self) -> None:
        if len(self.index) and (self.index.min() < -1 or self.index.max() >= len(self.names)):
            raise BadData(
                f"group indices reach {self.index.max()} with {len(self.names)} names:",
                "give one name a group.",
            )

    @classmethod
    def of(cls, columns: dict[str, NDArray[Any]], source: str = "attributes") -> Groups:
        """Cross the given columns; only combinations that occur become groups, in sorted order.

        A missing value (None, NaN, empty text or a negative label) makes the sample's group unknown.
        """
        if not columns:
            raise BadData("No attribute was named.", "Name at least one column, such as groups('label', 'place').")
        texts = {name: np.array([_text(value) for value in values], dtype=object) for name, values in columns.items()}
        rows = list(zip(*texts.values(), strict=True))
        known = sorted({row for row in rows if None not in row}, key=lambda row: tuple(map(_natural, row)))
        place = {row: number for number, row in enumerate(known)}
        index = np.array([place.get(row, -1) for row in rows], dtype=np.int64)
        names = tuple(", ".join(map(_part, texts, row)) for row in known)
        return cls(index, names, source)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Samples in each group, int64 ``[G]``."""
        return np.bincount(self.index[self.index >= 0], minlength=len(self.names)).astype(np.int64)

    def members(self, group: int) -> NDArray[np.int64]:
        """Rows of one group."""
        return np.flatnonzero(self.index == group).astype(np.int64)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Groups:
        """The groups of some rows, names kept."""
        return Groups(self.index[np.asarray(rows, dtype=np.int64)], self.names, self.source)


def _part(name: str, value: str) -> str:
    """``place=beach``; a value that could be read as several parts is quoted, so that no two groups share a name."""
    return f"{name}={value!r}" if ", " in value else f"{name}={value}"


def _text(value: Any) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
        return None
    return str(value)


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
