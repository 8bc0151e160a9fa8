"""Which value of which feature gives which label away: attributes, splits, sizes of the files, clusters of the images.

Wu et al., "Generating Data to Mitigate Spurious Correlations in Natural Language Inference Datasets", ACL 2022. With
n_x samples of value x, of which a share p(l|x) has label l, and the label's share p0 among all N samples,

    z(x, l) = (p(l|x) - p0) / sqrt(p0 (1 - p0) / n_x).

z grows with n: in enough data every trifle is beyond any threshold. A pair is therefore flagged only if it is both
certain, by the exact (hypergeometric) probability of so many or more samples, corrected for all pairs there could be
(Bonferroni), and large, by the share of the doubt about the label that x removes,

    g = (p(l|x) - p0) / (1 - p0),

whose score is taken at the lower end of Wilson's interval for p(l|x), so that few samples count for little. The papers
take p0 = 1 / labels, which calls every value biased where labels are not balanced, and the 20 largest z. Only values
that come too often with a label are looked at; those that are missing are the business of `group_gaps`.
`kintsugi.data.compose.z_filter` selects further data by the same z.

A feature that belongs to the task is no shortcut: declare it ``legitimate``. Numbers of many values are cut into
eighths by quantiles; the columns that stay too many-valued are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.groups.columns import UNKNOWN, codes
from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import track
from kintsugi.data.source import BadImage
from kintsugi.ops.statistics import wilson
from kintsugi.ops.z_statistics import z_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

    Ints = NDArray[np.int64]
    Feature = tuple[list[str], Ints]

CARD = Card(
    name="z_statistics",
    kind="auditor",
    title="Attributes, splits, file sizes and clusters that give the label away",
    paper="Wu et al., Generating Data to Mitigate Spurious Correlations in NLI Datasets, ACL 2022, arXiv:2203.12942",
    card=92,
    code="https://github.com/jimmycode/gen-debiased-nli",
    status="not proven",
)

BINS = 8
SIZE = "file size"  # height x width, or its parts where there are many


@dataclass(frozen=True)
class ZStatistics:
    """Finds pairs of a value and a label.

    Args:
        attributes: columns to look at; None for all columns and the split.
        legitimate: columns that may give the label away, since they belong to the task.
        files: look at the images' sizes too, where headers tell them.
        most_values: more values make a column an id and no feature.
        effect: share of the doubt about the label that a value must remove to be flagged.
        level: of significance, after correction.
    """

    attributes: Sequence[str] | None = None
    legitimate: Sequence[str] = ()
    files: bool = True
    most_values: int = 50
    effect: float = 0.1
    level: float = 0.05

    def __post_init__(self) -> None:
        require(self.most_values >= 2, "most_values", self.most_values, "2 or more")
        require(0 < self.effect < 1, "effect", self.effect, "a share between 0 and 1")
        require(0 < self.level < 1, "level", self.level, "a number between 0 and 1")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit labelled samples; pairs that are certain are listed, those that are large too are flagged."""
        known = np.flatnonzero(data.labels >= 0)
        params = {**vars(self), "legitimate": list(self.legitimate)}
        label = data.labels[known]
        size = np.bincount(label, minlength=len(data.classes))
        notes = [f"Declared legitimate: {', '.join(self.legitimate)}."] if self.legitimate else []
        if np.count_nonzero(size) < 2:
            notes.append("Cannot tell what gives labels away: fewer than two classes have samples.")
            return Findings.of((), CARD.name, params, Summary(None, None, None, tuple(notes)))
        features, skipped = self._features(data, known)
        if skipped:
            notes.append(f"Not taken for features, having too many values: {', '.join(skipped)}.")
        if not features:
            notes.append("Cannot tell what gives labels away: no column has two values or more, and sizes are alike.")
            return Findings.of((), CARD.name, params, Summary(None, None, None, tuple(notes)))
        tests = sum(len(values) for values, _ in features.values()) * np.count_nonzero(size)
        found = [
            finding
            for name, (values, code) in track(list(features.items()), "features and labels")
            for finding in self._biased(name, values, code, label, size, data.classes, int(tests))
        ]
        notes.append(f"{tests:,} pairs of a value and a label were tested.")
        count = float(sum(row.flagged for row in found))
        return Findings.of(found, CARD.name, params, Summary(None, count, None, tuple(notes)))

    def _biased(
        self, name: str, values: list[str], code: Ints, label: Ints, size: Ints, classes: Sequence[str], tests: int
    ) -> Iterator[Finding]:
        from scipy.stats import hypergeom

        # Only pairs that occur: their number is bounded by that of the samples, whatever the number of classes.
        cell, count = np.unique(code * len(size) + label, return_counts=True)
        value, k = np.divmod(cell, len(size))
        total = np.bincount(code, minlength=len(values))[value]
        prior = size[k] / len(label)
        z = z_of(count, total, prior)
        p = np.minimum(1.0, hypergeom.sf(count - 1, len(label), size[k], total) * tests)
        removed = (count / total - prior) / (1 - prior)
        sure = (wilson(count, total)[0] - prior) / (1 - prior)
        for i in np.flatnonzero((p < self.level) & (removed > 0)).tolist():
            which = f"{name}={values[value[i]]}"
            why = (
                f"{count[i]:,} of {total[i]:,} samples with {which} are {classes[k[i]]} ({count[i] / total[i]:.0%}; of "
                f"all {prior[i]:.0%}; z {z[i]:.1f}, p {p[i]:.2g} corrected)"
            )
            evidence = {"z": float(z[i]), "p": float(p[i]), "effect": float(removed[i]), "count": int(count[i])}
            flagged, score = bool(removed[i] >= self.effect), float(np.clip(sure[i], 0, 1))
            group = f"{which}, label={classes[k[i]]}"
            yield Finding("group", (group,), score, flagged, "biased_feature", "balance", why, evidence)

    def _features(self, data: ImageSet, rows: Ints) -> tuple[dict[str, Feature], list[str]]:
        names = self.attributes
        if names is None:
            names = [*data.attributes, *(("split",) if "split" in data.columns else ())]
        made = {name: _feature(data, name, rows, self.most_values) for name in names if name not in self.legitimate}
        if self.files and SIZE not in self.legitimate:
            made |= _sizes(data, rows, self.most_values)
        # One value in five samples is no feature either; what has one value says nothing.
        most = min(self.most_values, max(2, len(rows) // 5))
        kept = {name: feature for name, feature in made.items() if 2 <= len(feature[0]) <= most}
        return kept, [name for name, feature in made.items() if len(feature[0]) > most]


def _feature(data: ImageSet, name: str, rows: Ints, most: int) -> Feature:
    """Values of a column and each row's number; numbers of many values are cut into quantiles."""
    column = data.column(name)[rows]
    if column.dtype.kind == "f" or (column.dtype == object and all(isinstance(v, float | None) for v in column)):
        number = np.array([np.nan if v is None else v for v in column], dtype=np.float64)
        if len(np.unique(number[np.isfinite(number)])) > most:
            return _binned(number)
    return codes(data, name, rows)


def _binned(number: NDArray[np.float64]) -> Feature:
    finite = np.isfinite(number)
    edges = np.unique(np.quantile(number[finite], np.linspace(0, 1, BINS + 1)))
    code = np.where(finite, np.searchsorted(edges[1:-1], number, "right"), len(edges) - 1)
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return [*names, *([] if finite.all() else [UNKNOWN])], code.astype(np.int64)


def _sizes(data: ImageSet, rows: Ints, most: int) -> dict[str, Feature]:
    """Height x width; where there are many, area and shape in octaves. Nothing where only decoding would tell."""
    tell = getattr(data.source, "shape", None)
    if tell is None:
        return {}
    shapes = np.full((len(rows), 2), np.nan)
    for i, place in enumerate(data.rows[rows].tolist()):
        try:
            shapes[i] = tell(place)
        except BadImage:
            continue  # unknown, as a missing value is
    finite = np.isfinite(shapes[:, 0])
    if len(np.unique(shapes[finite], axis=0)) <= most:
        return {SIZE: _named([f"{h:.0f} x {w:.0f}" if np.isfinite(h) else UNKNOWN for h, w in shapes])}
    height, width = np.log2(shapes).T
    area, shape = np.rint(height + width), np.rint(2 * (width - height)) / 2
    return {
        "file area": _named([f"about {2**a:.0f} pixels" if np.isfinite(a) else UNKNOWN for a in area]),
        "file shape": _named([f"width about {2**s:.2g} heights" if np.isfinite(s) else UNKNOWN for s in shape]),
    }


def _named(text: list[str]) -> Feature:
    values, code = np.unique(np.array(text, dtype=str), return_inverse=True)
    return values.tolist(), code.astype(np.int64)
