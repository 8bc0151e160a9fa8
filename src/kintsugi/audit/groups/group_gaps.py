"""How classes and attributes share the data: imbalance, attributes tied to labels, cells that are empty, groups that
fare worse than their class.

The tie of an attribute to the label is Cramer's V with Bergsma's bias correction (A bias-correction for Cramer's V and
Tschuprow's T, 2013); its p-value comes from tables drawn at random with the same margins (Patefield, 1981), so small
counts are no trouble. A group's accuracy is compared with the rest of its class by Fisher's exact test; that a group
in which five samples or more are expected has none is as probable as the hypergeometric distribution says. All three
are corrected for the number of tests (Holm, 1979). Where there are splits each is looked at alone: a group missing in
training and present in the test is what breaks models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.groups.columns import attributes, codes, parts
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
BLOCK = 4_000_000  # cells of random tables held at once: 32 MB
WORK = 40_000_000  # cells drawn in all, at most
FEWEST_DRAWS = 200
EXPECTED = 5.0  # samples a group must be expected to have, to be missed


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
        names, skipped = attributes(data, self.attributes, self.most_values)
        found: list[Finding] = []
        ties: list[tuple[str, str, float, float]] = []
        gaps: list[dict[str, Any]] = []
        missing: list[tuple[str, float, float]] = []
        expected = 0
        for where, rows in parts(data):
            rows = rows[known[rows]]
            found += self._imbalance(data, rows, where)
            for name in names:
                values, code = codes(data, name, rows)
                if len(values) < 2:
                    continue
                table = np.zeros((len(data.classes), len(values)), dtype=np.int64)
                np.add.at(table, (data.labels[rows], code), 1)
                ties.append((where, name, *tie(table, self.draws, rng)))
                cells, tested = _empty(table, data.classes, name, values, where)
                missing, expected = missing + cells, expected + tested
                if right is not None:
                    gaps += _accuracies(table, right[rows], data.labels[rows], code, data.classes, name, values, where)
        found += self._missing(missing, expected)
        found += self._ties(ties)
        found += self._gaps(gaps, outputs)
        notes = (f"Not taken for attributes, having too many values: {', '.join(skipped)}.",) if skipped else ()
        return Findings.of(
            found, CARD.name, vars(self), Summary(None, float(sum(r.flagged for r in found)), None, notes)
        )

    def _imbalance(self, data: ImageSet, rows: NDArray[np.int64], where: str) -> Iterator[Finding]:
        counts = np.bincount(data.labels[rows], minlength=len(data.classes))
        for k, count in enumerate(counts):
            ratio = counts.max() / max(int(count), 1)
            if count == 0 or ratio >= self.imbalance:
                what = "has no sample" if count == 0 else f"has {count} samples, the largest class {counts.max()}"
                score = 1.0 if count == 0 else float(1 - 1 / ratio)
                why = f"{where}class {data.classes[k]} {what}"
                yield Finding("class", (f"{where}{data.classes[k]}",), score, True, "imbalance", "balance", why)

    def _missing(self, missing: list[tuple[str, float, float]], expected: int) -> Iterator[Finding]:
        """Empty groups; corrected for every group that could have been empty, whether it is or not."""
        corrected = holm(np.append([p for *_, p in missing], np.ones(expected - len(missing))))
        for (group, mean, _), p in zip(missing, corrected, strict=False):
            why = f"{group} has no sample; {mean:.0f} would be there if the attribute had nothing to do with the label"
            why += f" (p {p:.2g}, corrected)"
            evidence = {"expected": mean, "p": float(p)}
            flagged = bool(p < self.level)
            yield Finding("group", (group,), 1 - float(p), flagged, "missing_group", "collect", why, evidence)

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
        draws: random tables of the same margins; fewer where tables are large.
        rng: for them.
    """
    from scipy.stats import random_table

    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    (r, c), n = table.shape, int(table.sum())
    if r < 2 or c < 2 or n < 2:
        return 0.0, 1.0
    expected = np.outer(table.sum(1), table.sum(0)) / n
    seen = float(((table - expected) ** 2 / expected).sum())
    draws = min(draws, max(FEWEST_DRAWS, WORK // table.size))  # of many classes and values fewer tables, in blocks
    at_once = max(1, BLOCK // table.size)
    tables, beyond = random_table(table.sum(1), table.sum(0)), 0
    for start in range(0, draws, at_once):
        drawn = tables.rvs(size=min(at_once, draws - start), random_state=rng)
        other = ((drawn - expected) ** 2 / expected).sum(axis=(-2, -1))
        beyond += int((other >= seen - 1e-9).sum())
    p = (1 + beyond) / (1 + draws)
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
    cells = np.argwhere((table > 0) & (table < table.sum(1, keepdims=True)))
    k, v = cells.T
    n, total, m, h = table.sum(1)[k], hits.sum(1)[k], table[k, v], hits[k, v]
    p = hypergeom.cdf(h, n, total, m)  # Fisher's exact test, one-sided: this few right by chance
    for i, (row, column) in enumerate(cells.tolist()):
        yield {
            "group": f"{where}label={classes[row]}, {name}={values[column]}",
            "mine": h[i] / m[i],
            "rest": (total[i] - h[i]) / (n[i] - m[i]),
            "count": int(m[i]),
            "p": float(p[i]),
        }


def _empty(
    table: NDArray[np.int64], classes: Sequence[str], name: str, values: list[str], where: str
) -> tuple[list[tuple[str, float, float]], int]:
    """Empty groups with expected size and probability, and how many groups could have been empty."""
    from scipy.stats import hypergeom

    row, column, total = table.sum(1), table.sum(0), max(1, int(table.sum()))
    expected = np.outer(row, column) / total
    large = expected >= EXPECTED
    k, v = np.nonzero(large & (table == 0))
    p = hypergeom.pmf(0, total, row[k], column[v])
    groups = [f"{where}label={classes[i]}, {name}={values[j]}" for i, j in zip(k.tolist(), v.tolist(), strict=True)]
    return list(zip(groups, expected[k, v].tolist(), p.tolist(), strict=True)), int(large.sum())
