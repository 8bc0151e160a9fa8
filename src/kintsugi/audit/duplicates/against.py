"""Compares a new batch with old data: what repeats, what contradicts, and what lies outside of what is already there.

*Repeats* are new images that show a picture of the old data, with identical pixels or changed: `near_duplicates` on
both together, of which the pairs across count, each new image with its best old one. A repeat with another class name
*contradicts*. *Outside* are new images that are farther from the old data than old images are from each other: with d
the mean cosine distance to the k nearest old images in an encoder's space (Sun et al., "Out-of-Distribution Detection
with Deep Nearest Neighbors", ICML 2022, who take the k-th), and D the same of each old image among the others,

    flagged where p = (1 + #{D >= d}) / (1 + N_old) <= alpha,                                              (1)

so that of new images like the old ones a share of about alpha is flagged (a conformal p-value; Bates et al., "Testing
for outliers with conformal p-values", 2023). Without an encoder nothing is said of what lies outside: distances of
pixels tell little about it. Ours is putting the three together. A drift of the whole batch shows as more than alpha.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.duplicates.near_duplicates import NearDuplicates
from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.neighbours import nearest

if TYPE_CHECKING:
    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="against",
    kind="auditor",
    title="What a new batch repeats of old data, contradicts in it, or brings from outside",
    paper="Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022, arXiv:2204.06507",
    card=111,
    uses=("near_duplicates",),
    status="proven",
)


class Against:
    """Compares data with older data.

    Args:
        old: what is already there; None says nothing but that.
        encoder: in whose space distances are measured, and which helps to find changed copies; None leaves out the
            check of what lies outside.
        k: neighbours, of the search for copies and of the distance.
        alpha: share of images like the old ones that may be flagged as outside.
        fdr: accepted share of false pairs among the repeats.

    Findings are about single new images: ``repeats`` (suggestion ``drop``) and ``contradicts`` (``review``), with the
    old image's id in the evidence, and ``outside`` (``review``) with score d / (d + threshold), 1/2 at the threshold.
    """

    def __init__(
        self,
        old: ImageSet | None = None,
        *,
        encoder: Encoder | None = None,
        k: int = 5,
        alpha: float = 0.01,
        fdr: float = 0.1,
    ) -> None:
        require(0 < alpha < 0.5, "alpha", alpha, "a share between 0 and 0.5")
        self._near = NearDuplicates(encoder, k=k, fdr=fdr)  # k and fdr are checked there
        self.old, self.encoder, self.k, self.alpha, self.fdr = old, encoder, k, alpha, fdr

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Compare ``data``, the new batch, with the old data; outputs are not looked at."""
        params = {"k": self.k, "alpha": self.alpha, "fdr": self.fdr}
        if self.old is None or not len(self.old) or not len(data):
            what = "old data were given" if self.old is None else "images are there to compare"
            return Findings.of([], CARD.name, params, Summary(notes=(f"No {what}: cannot tell what is new.",)))
        repeats, said = self._repeats(data, rng)
        outside, told = self._outside(data)
        return Findings.of([*repeats, *outside], CARD.name, params, Summary(notes=(*said, *told)))

    # ------------------------------------------------------------------------------------------------- copies

    def _repeats(self, data: ImageSet, rng: np.random.Generator) -> tuple[list[Finding], tuple[str, ...]]:
        assert self.old is not None
        both, names = _joined(self.old, data)
        pairs = self._near(both, None, rng)
        best: dict[str, tuple[Finding, str]] = {}
        for row in pairs:  # worst first; the first old image of equal ones, by id
            a, b = sorted(row.ids, key=lambda name: name.startswith("new:"))
            if b.startswith("new:") and not a.startswith("new:"):
                best.setdefault(b, (row, a))
        for row in pairs:  # of identical new images only the first was compared with the old ones
            if row.check == "exact_duplicate" and row.ids[0] in best and row.ids[1] not in best:
                best[row.ids[1]] = best[row.ids[0]]
        label = {
            name: None if k < 0 else both.classes[k] for name, k in zip(both.ids, both.labels.tolist(), strict=True)
        }
        found = [_repeat(row, (names[new], label[new]), (names[old], label[old])) for new, (row, old) in best.items()]
        flagged = [row for row in found if row.flagged]
        against = sum(row.check == "contradicts" for row in flagged)
        exact = sum(bool(row.evidence["identical"]) for row in flagged)
        counts = f"{len(flagged)} of {len(data)} new images repeat an old one ({exact} with identical pixels)"
        return found, (f"{counts}; {against} of them under another label.", *pairs.summary.notes)

    # ------------------------------------------------------------------------------------------------ outside

    def _outside(self, data: ImageSet) -> tuple[list[Finding], tuple[str, ...]]:
        assert self.old is not None
        if self.encoder is None:
            return [], ("Without an encoder: cannot tell what lies outside of the old data.",)
        from kintsugi.models.cache import embed

        old, new = embed(self.encoder, self.old), embed(self.encoder, data)
        old, rows = old[np.isfinite(old).all(axis=1)], np.flatnonzero(np.isfinite(new).all(axis=1))
        if self.alpha * (len(old) + 1) < 1:
            least = int(np.ceil(1 / self.alpha))
            return [], (f"{len(old)} old images: cannot tell what lies outside, since alpha asks for {least}.",)
        own = np.sort(nearest(old, self.k)[0].mean(axis=1, dtype=np.float64))
        distance = nearest(old, self.k, new[rows])[0].mean(axis=1, dtype=np.float64)
        p = (1 + len(own) - np.searchsorted(own, distance, side="left")) / (1 + len(own))
        limit = float(own[len(own) - int(self.alpha * (len(own) + 1))])  # fewer than that many D lie beyond: equation 1
        if limit <= 0:
            return [], ("The encoder gives all old images the same features: cannot tell what lies outside of them.",)
        found = [
            _far(data.ids[row], far, limit, chance, chance <= self.alpha)
            for row, far, chance in zip(rows.tolist(), distance.tolist(), p.tolist(), strict=True)
        ]
        count, chance = sum(row.flagged for row in found), self.alpha * len(rows)
        return found, (f"{count} new images lie outside of the old data; {chance:.1f} would do so by chance.",)


def _joined(old: ImageSet, new: ImageSet) -> tuple[ImageSet, dict[str, str]]:
    """Both as one set over the classes of both, with ids that tell them apart, and the ids they had."""
    import pyarrow as pa

    from kintsugi.data.imageset import ImageSet as Set

    classes = tuple(dict.fromkeys((*old.classes, *new.classes)))
    parts: list[ImageSet] = []
    names: dict[str, str] = {}
    for side, part in (("old", old), ("new", new)):
        ids = [f"{side}:{name}" for name in part.ids]
        names |= dict(zip(ids, part.ids, strict=True))
        place = np.array([*(classes.index(name) for name in part.classes), -1])
        table = pa.table({"id": ids, "label": pa.array(place[part.labels], pa.int64()), "split": [side] * len(part)})
        parts.append(Set(part.source, table, classes, rows=part.rows))
    return Set.concat(parts), names


def _repeat(pair: Finding, new: tuple[str, str | None], old: tuple[str, str | None]) -> Finding:
    differ = None not in (new[1], old[1]) and new[1] != old[1]
    same = pair.check == "exact_duplicate"
    why = f"{new[0]} shows the same picture as {old[0]} of the old data"
    why += ", with identical pixels" if same else f", similarity {pair.evidence['similarity']:.3f}"
    why += f", but is labelled {new[1]} and not {old[1]}." if differ else "."
    return Finding(
        subject="sample",
        ids=(new[0],),
        score=pair.score,
        flagged=pair.flagged,
        check="contradicts" if differ else "repeats",
        suggestion="review" if differ else "drop",
        why=why,
        evidence={"old": old[0], "identical": same, "label": new[1], "old_label": old[1]},
    )


def _far(name: str, distance: float, limit: float, p: float, flagged: bool) -> Finding:
    return Finding(
        subject="sample",
        ids=(name,),
        score=distance / (distance + limit),
        flagged=flagged,
        check="outside",
        suggestion="review",
        why=f"{name} is {distance / limit:.2f} times as far from the old data as all but a few old images are.",
        evidence={"distance": distance, "limit": limit, "p": p},
    )
