"""`ZFilter`: take from a stream of candidates those that make no feature give the label away more than it does already.

Wu et al., "Generating Data to Mitigate Spurious Correlations in Natural Language Inference Datasets", ACL 2022: a
candidate (x, y) is accepted if none of its feature values is biased towards y, that is z(x, y) > threshold by
:func:`kintsugi.ops.z_statistics.z_statistics`; counts are taken anew after every few candidates. Candidates may be
generated, retrieved or merely many: the filter stands with composing data, below the rooms that make images.

Features that belong to the task must be declared legitimate: filtering by them destroys the cause itself (with all of
30 features treated as biases, the filter accepts next to nothing). The papers keep the pairs of largest z; a threshold
on z says the same whatever the number of features, and grows strict as data grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require
from kintsugi.ops.z_statistics import z_statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ZFilter:
    """Holds the counts of what was accepted so far.

    Args:
        classes: number of labels, from 2.
        threshold: z from which a value is biased towards a label.
        legitimate: features that may give the label away.
        every: candidates judged by the same counts.
    """

    def __init__(
        self, classes: int, *, threshold: float = 3.0, legitimate: Sequence[str] = (), every: int = 50
    ) -> None:
        require(classes >= 2, "classes", classes, "2 or more")
        require(0 < threshold < np.inf, "threshold", threshold, "a number above 0")
        require(every >= 1, "every", every, "1 or more")
        self.classes, self.threshold, self.legitimate, self.every = classes, threshold, tuple(legitimate), every
        self._place: dict[str, dict[Any, int]] = {}
        self._count: dict[str, NDArray[np.int64]] = {}

    def add(self, features: Mapping[str, Sequence[Any] | NDArray[Any]], label: NDArray[np.int64]) -> None:
        """Count samples that are in the data whatever they are.

        Args:
            features: values ``[B]`` by feature.
            label: int ``[B]`` in 0..classes-1.
        """
        for name, code in self._codes(features, label).items():
            np.add.at(self._count[name], (code, label), 1)

    def accept(
        self, features: Mapping[str, Sequence[Any] | NDArray[Any]], label: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Judge candidates in order and count those taken; bool ``[B]``. Shapes as for :meth:`add`."""
        codes = self._codes(features, label)
        taken = np.zeros(len(label), dtype=bool)
        for start in range(0, len(label), self.every):
            part = slice(start, start + self.every)
            good = np.ones(len(label[part]), dtype=bool)
            for name, code in codes.items():
                biased = z_statistics(self._count[name]) > self.threshold
                good &= ~biased[code[part], label[part]]
            taken[part] = good
            for name, code in codes.items():
                np.add.at(self._count[name], (code[part][good], label[part][good]), 1)
        return taken

    def z(self, name: str) -> dict[Any, NDArray[np.float64]]:
        """z of each value of a feature with every label, as the data stands."""
        require(name in self._count, "name", name, f"one of {', '.join(self._count)}")
        scores = z_statistics(self._count[name])
        return {value: scores[code] for value, code in self._place[name].items()}

    def _codes(
        self, features: Mapping[str, Sequence[Any] | NDArray[Any]], label: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        """The values that count as numbers, new ones added."""
        if len(label) and not 0 <= int(label.min()) <= int(label.max()) < self.classes:
            raise BadData(f"Labels reach from {label.min()} to {label.max()}:", f"give 0 to {self.classes - 1}.")
        made = {}
        for name, values in features.items():
            if len(values) != len(label):
                raise BadData(f"Feature {name!r} has {len(values)} values for {len(label)} labels:", "give one each.")
            if name in self.legitimate:
                continue
            place = self._place.setdefault(name, {})
            made[name] = np.array(
                [place.setdefault(v, len(place)) for v in np.asarray(values).tolist()], dtype=np.int64
            )
            old = self._count.get(name, np.zeros((0, self.classes), dtype=np.int64))
            self._count[name] = np.pad(old, ((0, len(place) - len(old)), (0, 0)))
        return made
