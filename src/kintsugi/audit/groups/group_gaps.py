"""How classes and attributes share the data: imbalance, attributes tied to labels, cells that are empty, groups that
fare worse than their class.

The tie of an attribute to the label is Cramer's V with Bergsma's bias correction (A bias-correction for Cramer's V and
Tschuprow's T, 2013); its p-value comes from tables drawn at random with the same margins (Patefield, 1981), so small
counts are no trouble. A group's accuracy is compared with the rest of its class by Fisher's exact test. Both are
corrected for the number of tests (Holm, 1979). Where there are splits each is looked at alone: a group missing in
training and present in the test is what breaks models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.statistics import holm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="group_gaps",
    kind="auditor",
    title="imbalance, attributes tied to labels, missing groups, accuracy gaps",
    paper="Bergsma, A bias-correction for Cramer's V and Tschuprow's T (2013)",
    card=3,
    status="proven",
)


@dataclass(frozen=True)
class GroupGaps:
    """Find what is unequal between classes and groups.

    Args:
        attributes: columns to look at; None for all with 2 to ``most_values`` values.
        most_values: more values make a column an id and no attribute.
        imbalance: ratio of the largest to a class's size from which the class is flagged.
        tie: corrected Cramer's V from which an attribute is flagged, if significant.
        gap: accuracy below the rest of the class, in shares, from which a group is flagged, if significant.
        level: of significance, after correction.
        draws: random tables.
    """

    attributes: Sequence[str] | None = None
    most_values: int = 50
    imbalance: float = 5.0
    tie: float = 0.2
    gap: float = 0.1
    level: float = 0.05
    draws: int = 2000

    def __post_init__(self) -> None:
        require(self.most_values >= 2, "most_values", self.most_values, "2 or more")
        require(self.imbalance > 1, "imbalance", self.imbalance, "a ratio above 1")
        require(0 < self.tie <= 1, "tie", self.tie, "a number above 0, to 1")
        require(0 < self.gap <= 1, "gap", self.gap, "a share above 0, to 1")
        require(0 < self.level < 1, "level", self.level, "a number between 0 and 1")
        require(self.draws >= 100, "draws", self.draws, "100 or more")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit labelled samples; outputs, if given, must be those of the data, row for row."""
        known = data.labels >= 0
        right = None
        if outputs is not None:
            require(list(outputs.id) == data.ids, "outputs", len(outputs.id), "outputs of this data, row for row")
            right = outputs.predicted == data.labels
        names, skipped = self._columns(data)
        found: list[Finding] = []
        ties: list[tuple[str, str, float, float]] = []
        gaps: list[dict[str, Any]] = []
        for where, rows in _parts(data):
            rows = rows[known[rows]]
            found += self._imbalance(data, rows, where)
            for name in names:
                values, code = _codes(data, name, rows)
                if len(values) < 2:
                    continue
                table = np.zeros((len(data.classes), len(values)), dtype=np.int64)
                np.add.at(table, (data.labels[rows], code), 1)
                ties.append((where, name, *tie(table, self.draws, rng)))
                found += self._missing(table, data.classes, name, values, where)
                if right is not None:
                    gaps += _accuracies(table, right[rows], data.labels[rows], code, data.classes, name, values, where)
        found += self._ties(ties)
        found += self._gaps(gaps, outputs)
        notes = (f"Not taken for attributes, having too many values: {', '.join(skipped)}.",) if skipped else ()
        return Findings.of(
            found, CARD.name, vars(self), Summary(None, float(sum(r.flagged for r in found)), None, notes)
        )

    def _columns(self, data: ImageSet) -> tuple[list[str], list[str]]:
        if self.attributes is not None:
            return list(self.attributes), []
        sizes = {name: len(_codes(data, name, np.arange(len(data)))[0]) for name in data.attributes}
        most = min(self.most_values, max(2, len(data) // 5))
        return [n for n, k in sizes.items() if 2 <= k <= most], [n for n, k in sizes.items() if k > most]

    def _imbalance(self, data: ImageSet, rows: NDArray[np.int64], where: str) -> Iterator[Finding]:
        counts = np.bincount(data.labels[rows], minlength=len(data.classes))
        for k, count in enumerate(counts):
            ratio = counts.max() / max(int(count), 1)
            if count == 0 or ratio >= self.imbalance:
                what = "has no sample" if count == 0 else f"has {count} samples, the largest class {counts.max()}"
                score = 1.0 if count == 0 else float(1 - 1 / ratio)
                why = f"{where}class {data.classes[k]} {what}"
                yield Finding("class", (f"{where}{data.classes[k]}",), score, True, "imbalance", "balance", why)

    def _missing(
        self, table: NDArray[np.int64], classes: Sequence[str], name: str, values: list[str], where: str
    ) -> Iterator[Finding]:
        expected = np.outer(table.sum(1), table.sum(0)) / max(1, table.sum())
        for k, v in np.argwhere((table == 0) & (expected >= 5)):
            group = f"{where}label={classes[k]}, {name}={values[v]}"
            why = (
                f"{group} has no sample; {expected[k, v]:.0f} would be there if {name} had nothing to do with the label"
            )
            evidence = {"expected": float(expected[k, v])}
            yield Finding("group", (group,), 1.0, True, "missing_group", "collect", why, evidence)

    def _ties(self, ties: list[tuple[str, str, float, float]]) -> Iterator[Finding]:
        corrected = holm(np.array([p for *_, p in ties]))
        for (where, name, v, _), p in zip(ties, corrected, strict=True):
            flagged = bool(v >= self.tie and p < self.level)
            why = f"{where}{name} and the label: Cramer's V {v:.2f} (p {p:.2g}, corrected)"
            yield Finding("dataset", (f"{where}{name}",), v, flagged, "tied_attribute", "balance", why, {"p": float(p)})

    def _gaps(self, gaps: list[dict[str, Any]], outputs: Outputs | None) -> Iterator[Finding]:
        corrected = holm(np.array([gap["p"] for gap in gaps]))
        for gap, p in zip(gaps, corrected, strict=True):
            size = gap["rest"] - gap["mine"]
            flagged = bool(size >= self.gap and p < self.level)
            source = outputs.source if outputs is not None else ""
            why = f"{gap['group']}: {gap['mine']:.1%} right, the rest of its class {gap['rest']:.1%} (by {source})"
            evidence = {"p": float(p), "count": gap["count"]}
            score = float(np.clip(size, 0, 1))
            yield Finding("group", (gap["group"],), score, flagged, "accuracy_gap", "collect", why, evidence)


def tie(table: NDArray[np.int64], draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Bias-corrected Cramer's V of a contingency table, and its p-value.

    Bergsma (2013): with phi2 = chi2 / n, phi2' = max(0, phi2 - (r-1)(c-1)/(n-1)), r' = r - (r-1)^2/(n-1), likewise c',
    V' = sqrt(phi2' / min(r' - 1, c' - 1)). Empty rows and columns are left out.

    Args:
        table: counts int ``[R, C]``.
        draws: random tables of the same margins.
        rng: for them.
    """
    from scipy.stats import random_table

    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    (r, c), n = table.shape, int(table.sum())
    if r < 2 or c < 2 or n < 2:
        return 0.0, 1.0
    expected = np.outer(table.sum(1), table.sum(0)) / n
    drawn = random_table(table.sum(1), table.sum(0)).rvs(size=draws, random_state=rng)
    seen = float(((table - expected) ** 2 / expected).sum())
    other = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2))
    p = (1 + int((other >= seen - 1e-9).sum())) / (1 + draws)
    phi2 = max(0.0, seen / n - (r - 1) * (c - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return (float(min(1.0, np.sqrt(phi2 / smaller))) if smaller > 0 else 0.0), p


def _accuracies(
    table: NDArray[np.int64],
    right: NDArray[np.bool_],
    label: NDArray[np.int64],
    code: NDArray[np.int64],
    classes: Sequence[str],
    name: str,
    values: list[str],
    where: str,
) -> Iterator[dict[str, Any]]:
    from scipy.stats import hypergeom

    hits = np.zeros_like(table)
    np.add.at(hits, (label[right], code[right]), 1)
    for k, v in np.argwhere((table > 0) & (table < table.sum(1, keepdims=True))):
        n, m, h, total = int(table[k].sum()), int(table[k, v]), int(hits[k, v]), int(hits[k].sum())
        yield {
            "group": f"{where}label={classes[k]}, {name}={values[v]}",
            "mine": h / m,
            "rest": (total - h) / (n - m),
            "count": m,
            "p": float(hypergeom.cdf(h, n, total, m)),  # Fisher's exact test, one-sided: this few right by chance
        }


def _codes(data: ImageSet, name: str, rows: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Values of a column in order, and the number of each row's; a missing value is a value of its own."""
    text = np.array(["(unknown)" if v is None or v == "" else str(v) for v in data.column(name)[rows]], dtype=object)
    values, code = np.unique(text.astype(str), return_inverse=True)
    return [str(value) for value in values], code.astype(np.int64)


def _parts(data: ImageSet) -> Iterator[tuple[str, NDArray[np.int64]]]:
    if "split" not in data.columns:
        yield "", np.arange(len(data))
        return
    split = data.column("split").astype(str)
    for name in dict.fromkeys(split.tolist()):
        yield f"{name}: ", np.flatnonzero(split == name)
