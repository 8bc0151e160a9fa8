"""Finds rare and missing groups, attributes tied to the class, and groups on which a model does worse than elsewhere.

The tie of an attribute to the class is Cramer's V with bias correction (Bergsma, "A bias-correction for Cramer's V and
Tschuprow's T", J. Korean Stat. Soc. 2013); its p-value comes from tables drawn with the same margins, which is what
permuting the labels gives. A group (class x attribute value) is missing when it has no sample although independence
would give it some. Accuracy of a group is compared with the rest of its class, so that a hard class is not taken for
a hard group: Fisher's exact test, Newcombe's interval. All p-values are corrected by Holm over the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.data.groups import Groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="group_gaps",
    kind="auditor",
    title="Rare and missing groups, attributes tied to the class, and gaps in accuracy between groups",
    paper="Bergsma, A bias-correction for Cramer's V and Tschuprow's T, J. Korean Statistical Society 42, 2013",
    card=0,
)


@dataclass(frozen=True)
class GroupGaps:
    """Checks the make-up of the data, and of a model's accuracy on it.

    Args:
        attributes: columns to look at; None takes every column that is not reserved and has at most ``values`` values.
        values: most values an attribute may have, when columns are chosen automatically.
        imbalance: factor between the largest class and a class from which the class is rare.
        rare: factor between the size expected under independence and a group's size from which the group is rare.
        tie: Cramer's V from which an attribute is flagged as tied to the class, if it is also significant.
        gap: accuracy lost against the rest of the class from which a group is flagged, if it is also significant.
        level: significance, after Holm's correction.
        draws: tables drawn for the p-values of ties.
    """

    attributes: tuple[str, ...] | None = None
    values: int = 30
    imbalance: float = 10.0
    rare: float = 4.0
    tie: float = 0.1
    gap: float = 0.05
    level: float = 0.05
    draws: int = 1999

    def __post_init__(self) -> None:
        require(self.values >= 2, "values", self.values, "at least 2 values")
        require(self.imbalance > 1, "imbalance", self.imbalance, "a factor above 1")
        require(self.rare > 1, "rare", self.rare, "a factor above 1")
        for name in ("tie", "gap", "level"):
            require(0 < getattr(self, name) < 1, name, getattr(self, name), "a number between 0 and 1")
        require(self.draws >= 99, "draws", self.draws, "at least 99 draws")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the groups; accuracy is looked at when there are outputs.

        Raises:
            BadArgument: a named attribute is no column.
            BadData: outputs are missing for a sample.
        """
        names, notes = self._columns(data)
        found = self._classes(data)
        ties = []
        for name in names:
            table, values = _crossed(data, name)
            if min(table.shape) >= 2:
                ties.append((name, *_tied(table, self.draws, rng)))
            found += self._cells(data, name, table, values)
        for (name, strength, _), p in zip(ties, holm([p for _, _, p in ties]), strict=True):
            found.append(self._tie(name, strength, p))
        if outputs is not None:
            found += self._accuracy(data, outputs, names)
            if outputs.held_out is False:
                notes.append("Accuracy is on samples the model was trained on; gaps on new ones may be larger.")
        if not names:
            notes.append("No attribute column was looked at: only classes were compared.")
        params = {name: getattr(self, name) for name in self.__dataclass_fields__}
        flagged = sum(row.flagged for row in found)
        return Findings.of(found, CARD.name, params, Summary(None, float(flagged), None, tuple(notes)))

    def _columns(self, data: ImageSet) -> tuple[list[str], list[str]]:
        if self.attributes is not None:
            for name in self.attributes:
                if name not in data.attributes:
                    raise BadArgument(f"There is no attribute {name!r}.", f"Known: {', '.join(data.attributes)}.")
            return list(self.attributes), []
        names, left = [], []
        for name in data.attributes:
            count = len(Groups.of({name: data.column(name)})) if len(data) else 0
            (names if 2 <= count <= self.values else left).append(name)
        return names, [f"Left out for having one value or over {self.values}: {', '.join(left)}."] if left else []

    def _classes(self, data: ImageSet) -> list[Finding]:
        counts = np.bincount(data.labels[data.labels >= 0], minlength=len(data.classes))
        most = int(counts.max(initial=0))
        return [
            Finding(
                subject="class",
                ids=(data.classes[k],),
                score=float(1 - counts[k] / most),
                flagged=bool(counts[k] * self.imbalance < most or counts[k] == 0),
                check="missing_class" if counts[k] == 0 else "rare_class",
                suggestion="collect",
                why=f"class {data.classes[k]} has {counts[k]} samples, the largest class {most}",
                evidence={"count": int(counts[k]), "largest": most},
            )
            for k in range(len(counts))
            if most and 2 * counts[k] < most
        ]

    def _cells(self, data: ImageSet, name: str, table: NDArray[np.int64], values: Sequence[str]) -> list[Finding]:
        """Cells of the class x attribute table that hold far less than independence would give them."""
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(int(table.sum()), 1)
        found = []
        for k, v in np.argwhere((expected > 1) & (table * self.rare < expected)).tolist():
            have, wanted = int(table[k, v]), float(expected[k, v])
            found.append(
                Finding(
                    subject="group",
                    ids=(f"label={data.classes[k]}, {name}={values[v]}",),
                    # the chance that independence would have put more samples here
                    score=float(1 - _poisson_below(have, wanted)),
                    flagged=bool(_poisson_below(have, wanted) * table.size < self.level),
                    check="missing_group" if have == 0 else "rare_group",
                    suggestion="collect",
                    why=f"{have} samples of class {data.classes[k]} have {name} {values[v]}; "
                    f"{wanted:.0f} if {name} were independent of the class",
                    evidence={"count": have, "expected": wanted, "attribute": name, "value": values[v]},
                )
            )
        return found

    def _tie(self, name: str, strength: float, p: float) -> Finding:
        return Finding(
            subject="dataset",
            ids=(name,),
            score=strength,
            flagged=strength >= self.tie and p <= self.level,
            check="tied_attribute",
            suggestion="balance",
            why=f"{name} and the class go together: Cramer's V {strength:.2f} (p {p:.2g})",
            evidence={"cramers_v": strength, "p_value": p},
        )

    def _accuracy(self, data: ImageSet, outputs: Outputs, names: Sequence[str]) -> list[Finding]:
        """Each group against the rest of its class; without attributes each class against the others."""
        right = outputs.take(data.ids).predicted == data.labels
        known = data.labels >= 0
        rows = []
        for groups, whole in [(data.groups("label", name), False) for name in names] or [(data.groups("label"), True)]:
            for g, name in enumerate(groups.names):
                mine = (groups.index == g) & known
                rest = known & (groups.index != g) & (groups.index >= 0)
                if not whole and mine.any():
                    rest &= data.labels == data.labels[mine][0]
                if mine.any() and rest.any():
                    counts = (int(right[mine].sum()), int(mine.sum()), int(right[rest].sum()), int(rest.sum()))
                    rows.append((name, counts, _fisher(*counts)))
        found = []
        for (name, (hit, n, others, m), _), p in zip(rows, holm([p for _, _, p in rows]), strict=True):
            gap = others / m - hit / n
            if gap <= 0:
                continue
            low, high = newcombe(others, m, hit, n)
            found.append(
                Finding(
                    subject="group",
                    ids=(name,),
                    score=float(gap),
                    flagged=bool(gap >= self.gap and p <= self.level),
                    check="accuracy_gap",
                    suggestion="review",
                    why=f"accuracy {hit / n:.1%} on {name} ({n} samples) against {others / m:.1%} on the rest; "
                    f"gap {100 * gap:.1f} points (95% interval {100 * low:.1f} to {100 * high:.1f})",
                    evidence={"accuracy": hit / n, "rest": others / m, "count": n, "interval": [low, high], "p": p},
                )
            )
        return found


def cramers_v(table: NDArray[np.int64]) -> float:
    """Bias-corrected Cramer's V of a contingency table ``[r, c]`` without empty rows or columns, 0..1.

    Bergsma (2013): phi^2 less its expectation (r-1)(c-1)/(n-1), over the corrected numbers of rows and columns less 1.
    """
    n, (r, c) = int(table.sum()), table.shape
    if n < 2 or min(r, c) < 2:
        return 0.0
    phi = max(0.0, _chi2(table[None])[0] / n - (r - 1) * (c - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    return float(min(1.0, np.sqrt(phi / (min(rows, columns) - 1)))) if min(rows, columns) > 1 else 0.0


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected by Holm's step-down procedure, in the given order."""
    order = np.argsort(p, kind="stable")
    made, worst = np.zeros(len(p)), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[i]))
        made[i] = worst
    return [float(value) for value in made]


def newcombe(a: int, n: int, b: int, m: int) -> tuple[float, float]:
    """95% interval of a/n - b/m from the two Wilson intervals (Newcombe's hybrid score interval)."""
    (low1, high1), (low2, high2) = _wilson(a, n), _wilson(b, m)
    one, two = a / n, b / m
    down = np.hypot(one - low1, high2 - two)
    up = np.hypot(high1 - one, two - low2)
    return float(one - two - down), float(one - two + up)


def _wilson(a: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    share, weight = a / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z * np.sqrt(share * (1 - share) / n + weight / (4 * n)) / (1 + weight)
    return float(centre - half), float(centre + half)


def _crossed(data: ImageSet, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Counts by class and value (classes without samples keep their empty row), and the values' names."""
    groups = Groups.of({name: data.column(name)})
    known = (groups.index >= 0) & (data.labels >= 0)
    table = np.zeros((len(data.classes), len(groups)), dtype=np.int64)
    np.add.at(table, (data.labels[known], groups.index[known]), 1)
    return table, tuple(value.partition("=")[2] for value in groups.names)


def _tied(table: NDArray[np.int64], draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Cramer's V and its permutation p-value."""
    from scipy.stats import random_table

    table = table[table.any(axis=1)][:, table.any(axis=0)]
    if min(table.shape, default=0) < 2:
        return 0.0, 1.0
    drawn = random_table(table.sum(axis=1), table.sum(axis=0)).rvs(size=draws, random_state=rng)
    least = _chi2(table[None])[0] * (1 - 1e-12)
    return cramers_v(table), float((1 + (_chi2(drawn) >= least).sum()) / (1 + draws))


def _chi2(tables: NDArray[Any]) -> NDArray[np.float64]:
    total = tables.sum(axis=(1, 2), keepdims=True)
    expected = tables.sum(axis=2, keepdims=True) * tables.sum(axis=1, keepdims=True) / total
    return np.asarray(((tables - expected) ** 2 / expected).sum(axis=(1, 2)), dtype=np.float64)


def _poisson_below(have: int, expected: float) -> float:
    from scipy.stats import poisson

    return float(poisson.cdf(have, expected))


def _fisher(hit: int, n: int, others: int, m: int) -> float:
    from scipy.stats import fisher_exact

    return float(fisher_exact([[hit, n - hit], [others, m - others]]).pvalue)
