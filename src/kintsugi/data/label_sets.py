"""Sets of valid labels: which labels each image has, what people think of each, and which version of the set it is.

A set is written once and never changed: adding labels makes a new version, since scores move when labels are added.
Labels have a status: ``correct``, ``unclear`` (people disagree; counts as right), ``wrong`` (looked at and refused) or
``problematic`` (nobody can say what the image shows: it is left out). Kept flat, so a million images are no burden.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.errors import BadData, require
from kintsugi.core.files import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

STATUSES = ("correct", "unclear", "wrong", "problematic")
VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})")
_ENTRY = pa.list_(pa.struct([("label", pa.int64()), ("status", pa.string())]))


@dataclass(frozen=True)
class LabelSets:
    """The labels of N images.

    Attributes:
        start: labels of image i are ``start[i]:start[i + 1]``, int64 ``[N + 1]``.
        label: class indices int64 ``[M]``; -1 with the status ``problematic``.
        status: place in :data:`STATUSES`, int8 ``[M]``.
        version: the person's own name for this version.
    """

    start: NDArray[np.int64]
    label: NDArray[np.int64]
    status: NDArray[np.int8]
    version: str = "1"

    @classmethod
    def of(cls, sets: Iterable[Iterable[int] | Mapping[int, str]], version: str = "1") -> LabelSets:
        """From one collection of class indices an image (all correct), or from label to status.

        Raises:
            BadData: a label or a status is none.
        """
        sizes, labels, states = [0], [], []
        for number, given in enumerate(sets):
            pairs = given.items() if isinstance(given, Mapping) else ((k, "correct") for k in dict.fromkeys(given))
            count = 0
            for label, status in pairs:
                if status not in STATUSES or (int(label) < 0 and status != "problematic"):
                    raise BadData(
                        f"Image {number} has label {label!r} with status {status!r}:",
                        f"give class indices from 0 and one of {', '.join(STATUSES)}.",
                    )
                labels.append(int(label))
                states.append(STATUSES.index(status))
                count += 1
            sizes.append(count)
        return cls(np.cumsum(sizes), np.array(labels, dtype=np.int64), np.array(states, dtype=np.int8), version)

    @classmethod
    def read(cls, path: Path | str) -> LabelSets:
        """From JSON: ReaL's list of lists of class indices, in validation order, or what :meth:`write` wrote."""
        content = read_json(Path(path))
        if isinstance(content, dict) and "sets" in content:
            sets = [{int(k): status for k, status in entries} for entries in content["sets"]]
            return cls.of(sets, str(content.get("version", "1")))
        if not isinstance(content, list) or not all(isinstance(one, list) for one in content):
            raise BadData(f"{path} is no list of lists of class indices.", "See data/label_sets.py for the formats.")
        return cls.of(content)

    def write(self, path: Path | str) -> None:
        """To JSON, with version and statuses."""
        write_json(
            path, {"version": self.version, "sets": [list(map(list, self[i].items())) for i in range(len(self))]}
        )

    @classmethod
    def of_column(cls, data: ImageSet, name: str = "label_sets") -> LabelSets:
        """From a column of an image set: lists of class indices, or what :meth:`to_column` put there."""
        sets: list[Any] = []
        for value in data.table.column(name).to_pylist():
            entries = value or []
            wrapped = bool(entries) and isinstance(entries[0], Mapping)
            sets.append({e["label"]: e["status"] for e in entries} if wrapped else entries)
        return cls.of(sets)

    def to_column(self) -> pa.Array:
        """A column for :meth:`kintsugi.data.imageset.ImageSet.with_column`."""
        rows = [[{"label": k, "status": s} for k, s in self[i].items()] for i in range(len(self))]
        return pa.array(rows, _ENTRY)

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, i: int) -> dict[int, str]:
        """Label to status of one image."""
        place = slice(int(self.start[i]), int(self.start[i + 1]))
        return {int(k): STATUSES[s] for k, s in zip(self.label[place], self.status[place], strict=True)}

    @property
    def fingerprint(self) -> str:
        """Names this version by its content."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.start, self.label, self.status):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @property
    def problematic(self) -> NDArray[np.bool_]:
        """Which images nobody can judge, bool ``[N]``."""
        flags = np.zeros(len(self), dtype=bool)
        flags[self._row[self.status == STATUSES.index("problematic")]] = True
        return flags

    def flags(self, num_classes: int, status: str = "correct") -> NDArray[np.bool_]:
        """Which classes have a status, bool ``[N, num_classes]``: what metrics are given. Take some images first."""
        require(status in STATUSES[:3], "status", status, "correct, unclear or wrong")
        made = np.zeros((len(self), num_classes), dtype=bool)
        mine = self.status == STATUSES.index(status)
        if mine.any() and int(self.label[mine].max()) >= num_classes:
            raise BadData(
                f"A label is {self.label[mine].max()} with {num_classes} classes:", "give the full class list."
            )
        made[self._row[mine], self.label[mine]] = True
        return made

    def counts(self, status: str = "correct") -> NDArray[np.int64]:
        """How many labels of a status each image has, int64 ``[N]``."""
        return np.bincount(self._row[self.status == STATUSES.index(status)], minlength=len(self)).astype(np.int64)

    def take(self, rows: Sequence[int] | NDArray[Any]) -> LabelSets:
        """The sets of some images, in that order."""
        return LabelSets.of([self[int(i)] for i in np.asarray(rows, dtype=np.int64)], self.version)

    def of_validation(self, ids: Sequence[str]) -> LabelSets:
        """The sets of ILSVRC validation images by the number in their names (``ILSVRC2012_val_00000001``).

        The order of files in class folders is not the order of the sets; the number in a name is.

        Raises:
            BadData: an id holds no such number, or one past the last set.
        """
        found = [VALIDATION.search(name) for name in ids]
        bad = next((name for name, one in zip(ids, found, strict=True) if one is None or int(one[1]) > len(self)), None)
        if bad is not None:
            raise BadData(f"{bad!r} names none of {len(self)} validation images:", "take the sets by row number.")
        return self.take([int(one[1]) - 1 for one in found if one is not None])

    def with_labels(self, added: Mapping[int, Mapping[int, str]], version: str) -> LabelSets:
        """A new version: image to label to status, which replace those there were.

        Raises:
            BadArgument: the version is named as the old one.
        """
        require(version != self.version, "version", version, "a name other than the old version's")
        return LabelSets.of([{**self[i], **added.get(i, {})} for i in range(len(self))], version)

    @property
    def _row(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self)), np.diff(self.start))
