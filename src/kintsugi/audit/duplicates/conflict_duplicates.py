"""Finds pictures that stand in the data with more than one label, and the accuracy that can be attained in spite of it.

A deterministic classifier gives one answer to one picture. Where the same picture has several labels, all but the most
frequent one are errors for certain, so that with the pictures in groups g of n_g samples

    floor = 1 - (sum over groups of the majority's count) / N,    attainable training accuracy = 1 - floor.   (1)

Pictures are the same when their pixels are (decoded, at their own size), when they lie within ``eps`` of each other, or
when a list of pairs says so, such as the findings of ``near_duplicates``. Groups are connected components.

Deng and Heath, "Toward Errorless Training ImageNet-1k" (2025), arXiv:2508.04941: samples that a net trained to the end
never fits are taken to be pictures with two labels, at (nearly) zero distance from another one. That training is the
recipe ``continuation``; here are the groups and equation (1), which need no training. The paper could not be read in
full: the distance it uses is not known, and double labels are its authors' conjecture.

With ``eps`` or pairs equation (1) holds as far as the groups are one picture each: similar pictures that a net can tell
apart raise no floor, and near neighbours may chain. The summary says which it is. Samples without a label are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.duplicates.seen import Seen
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.components import components, error_floor
from kintsugi.ops.neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="conflict_duplicates",
    kind="auditor",
    title="The same picture with different labels, and the training accuracy that can be attained",
    paper="Deng and Heath, Toward Errorless Training ImageNet-1k (2025), arXiv:2508.04941",
    card=25,
    status="proven",
)

NAMED = 20  # members of a group whose labels stand in the evidence


class ConflictDuplicates:
    """Finds groups of one picture with several labels.

    Args:
        pairs: what else is the same picture: findings about pairs (the flagged ones count), or pairs of ids. Pairs that
            name samples outside the data are an error.
        eps: pictures within this distance are the same; 0 takes identical pixels alone.
        space: where ``eps`` is measured: ``pixels``, the root mean square difference (0..1) of the pictures at 32 x 32,
            or ``features``, 1 - cosine of ``outputs.features``.
        k: neighbours of each image that are looked at for ``eps``.

    A finding is a group: its score is the share outside the most frequent label, its evidence the count of each label,
    the labels of up to 20 members and how many errors the group makes for certain. Suggestion: ``relabel:K`` (the
    majority's class index) where more than half of at least three members agree, else ``review``.
    """

    def __init__(
        self,
        pairs: Findings | Sequence[tuple[str, str]] | None = None,
        *,
        eps: float = 0.0,
        space: Literal["pixels", "features"] = "pixels",
        k: int = 10,
    ) -> None:
        require(0 <= eps < 1, "eps", eps, "a distance from 0 to below 1")
        one_of("space", space, ("pixels", "features"))
        require(k >= 1, "k", k, "at least 1 neighbour")
        self.pairs, self.eps, self.space, self.k = pairs, eps, space, k

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Group the pictures and compare their labels.

        Raises:
            BadArgument: ``eps`` in features, and the outputs have none.
            BadData: a pair names a sample that is not in the data.
        """
        features = self._features(data, outputs)
        seen = Seen(data, features=features, pictures=self.eps > 0 and self.space == "pixels")
        known = np.flatnonzero(data.labels[seen.rows] >= 0)
        rows, label = seen.rows[known], data.labels[seen.rows[known]]
        joined = [_same_pixels(seen, known), self._near(seen, known), self._listed(data, rows)]
        group = components(len(rows), np.concatenate(joined))
        floor = error_floor(group, label)
        found = [
            _finding(data, rows[members], floor.majority[members[0]])
            for members in _members(group, np.flatnonzero(floor.conflicting))
        ]
        exact = self.eps == 0 and self.pairs is None
        count = float(floor.errors)
        summary = Summary(0.0, count, (count, count) if exact else None, self._notes(data, seen, len(rows), floor.rate))
        listed = None if self.pairs is None else "findings" if isinstance(self.pairs, Findings) else "ids"
        params = {"pairs": listed, "eps": self.eps, "space": self.space, "k": self.k}
        return Findings.of(found, CARD.name, params, summary)

    def _features(self, data: ImageSet, outputs: Outputs | None) -> NDArray[Any] | None:
        if self.eps == 0 or self.space == "pixels":
            return None
        if outputs is None or outputs.features is None:
            raise BadArgument("eps in space='features' needs features:", "give outputs with features.")
        features = outputs.take(data.ids).features
        assert features is not None
        return features

    def _near(self, seen: Seen, known: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pairs of places within ``eps`` int64 ``[P, 2]``, of those with a label."""
        if self.eps == 0 or len(known) < 2:
            return np.zeros((0, 2), dtype=np.int64)
        if self.space == "features":
            distance, near = nearest(seen.vectors[known], self.k)
        else:
            flat = seen.small[known].reshape(len(known), -1).astype(np.float32) / 255
            distance, near = nearest(flat / np.float32(np.sqrt(flat.shape[1])), self.k, metric="l2")
        row, column = np.nonzero(distance <= self.eps)
        return np.stack([row, near[row, column]], axis=1)

    def _listed(self, data: ImageSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.pairs is None:
            return np.zeros((0, 2), dtype=np.int64)
        pairs: Iterable[Sequence[str]] = (
            [row.ids for row in self.pairs.flagged if row.subject == "pair"]
            if isinstance(self.pairs, Findings)
            else self.pairs
        )
        names = set(data.ids)
        place = {data.ids[row]: number for number, row in enumerate(rows.tolist())}
        made = []
        for pair in pairs:
            foreign = [name for name in pair if name not in names]
            if foreign:
                raise BadData(f"A pair names {foreign[0]!r}, which is not in the data.", "Give pairs of this data.")
            if len(pair) == 2 and all(name in place for name in pair):
                made.append([place[name] for name in pair])
        return np.array(made, dtype=np.int64).reshape(-1, 2)

    def _notes(self, data: ImageSet, seen: Seen, count: int, floor: float) -> tuple[str, ...]:
        if not count:
            return ("No readable sample has a label: cannot tell whether labels contradict each other.",)
        same = ["identical pixels"]
        same += [f"a distance of up to {self.eps:g} in {self.space}"] if self.eps else []
        same += ["the pairs given"] if self.pairs is not None else []
        most = f"Training accuracy can reach {1 - floor:.4%} at most (error floor {floor:.4%} of {count} samples)"
        notes = [f"{most}, taking {' and '.join(same)} for the same picture."]
        if self.eps or self.pairs is not None:
            notes.append("Pictures that are only alike can be told apart: then the floor is lower.")
        left = len(data) - len(seen.rows), len(seen.rows) - count
        for number, why in zip(left, ("could not be read", "have no label"), strict=True):
            notes += [f"{number} images {why} and were left out."] if number else []
        return tuple(notes)


def _same_pixels(seen: Seen, known: NDArray[np.int64]) -> NDArray[np.int64]:
    first: dict[bytes, int] = {}
    made = [(first.setdefault(seen.digest[place], number), number) for number, place in enumerate(known.tolist())]
    return np.array([pair for pair in made if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)


def _members(group: NDArray[np.int64], conflicting: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places of each conflicting group, in the order of their first members."""
    order = conflicting[np.argsort(group[conflicting], kind="stable")]
    cuts = np.flatnonzero(np.diff(group[order])) + 1
    return [part for part in np.split(order, cuts) if len(part)]


def _finding(data: ImageSet, rows: NDArray[np.int64], majority: int) -> Finding:
    label, count = np.unique(data.labels[rows], return_counts=True)
    by = np.lexsort((label, -count))
    counts = {data.classes[int(label[k])]: int(count[k]) for k in by}
    errors = int(count.sum() - count.max())
    sure = majority >= 0 and len(rows) >= 3 and 2 * int(count.max()) > len(rows)
    ids = tuple(data.ids[row] for row in rows)
    told = ", ".join(f"{name} ({times})" for name, times in counts.items())
    shown = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    return Finding(
        subject="group",
        ids=ids,
        score=errors / len(rows),
        flagged=True,
        check="conflicting_labels",
        suggestion=f"relabel:{majority}" if sure else "review",
        why=f"{shown} show the same picture under {len(counts)} labels: {told}.",
        evidence={
            "labels": {
                name: data.classes[int(data.labels[row])] for name, row in list(zip(ids, rows, strict=True))[:NAMED]
            },
            "counts": counts,
            "majority": data.classes[majority] if majority >= 0 else None,
            "errors": errors,
        },
    )
