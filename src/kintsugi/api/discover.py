"""``discover``: groups the model treats alike and how unlike they fare, or single samples that tell of its faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.registry import find
from kintsugi.data.groups import Groups

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet


@dataclass(frozen=True)
class Discovery:
    """What a discoverer says of one part of the data.

    Attributes:
        groups: which sample is in which inferred group; None for a discoverer of samples.
        findings: one row a group that fares worse than its class, or those of the discoverer.
        ids: the samples the groups are about.
        agreement: with each attribute column, adjusted Rand index within classes, where attributes are known.
    """

    groups: Groups | None
    findings: Findings
    ids: tuple[str, ...]
    agreement: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        known = self.groups
        sizes = None if known is None else dict(zip(known.names, map(int, known.counts), strict=True))
        return {"groups": sizes, "agreement": self.agreement, "flagged": [row.why for row in self.findings.flagged]}


def discover(case: Case, *, method: str = "george", gap: float = 0.1, save: bool = True) -> Discovery:
    """Ask a discoverer about the selection part, without looking at any attribute.

    Args:
        case: data and a model with weights, or predictions with features.
        method: a discoverer.
        gap: accuracy below the class's, in shares, from which a group is flagged.
        save: write ``findings.parquet`` into ``discover/`` of the case's folder.
    """
    data, outputs = case.ask(case.need_model("features"), case.parts.select, features=True)
    made = find(method, "discoverer").load()()(data, outputs, numpy_rng(case.seed, "discover", method))
    if isinstance(made, Findings):
        result = Discovery(None, made, tuple(data.ids), {})
    else:
        gaps, agreement = _gaps(made, outputs, data, method, gap), _agreement(case, made, data)
        result = Discovery(made, gaps, tuple(data.ids), agreement)
    if save:
        case.run.sub("discover").save_findings(result.findings)
    return result


def _gaps(groups: Groups, outputs: Outputs, data: ImageSet, method: str, gap: float) -> Findings:
    right = outputs.predicted == data.labels
    found = []
    for g, name in enumerate(groups.names):
        members = groups.members(g)
        label = int(np.bincount(data.labels[members]).argmax())
        mine, whole = float(right[members].mean()), float(right[data.labels == label].mean())
        found.append(
            Finding(
                subject="group",
                ids=(name,),
                score=float(np.clip(whole - mine, 0, 1)),
                flagged=whole - mine >= gap,
                check="inferred_group",
                suggestion="review",
                why=f"{name}: {mine:.1%} right of {len(members)}, its class {whole:.1%}",
                evidence={"accuracy": mine, "class": whole, "count": len(members), "samples": _typical(members, data)},
            )
        )
    return Findings.of(found, method, {"gap": gap}, Summary(threshold=gap))


def _typical(members: np.ndarray[Any, Any], data: ImageSet, count: int = 12) -> list[str]:
    """Some ids of a group, evenly spread, for a person to look at."""
    return [data.ids[int(row)] for row in members[:: max(1, len(members) // count)][:count]]


def _agreement(case: Case, groups: Groups, data: ImageSet) -> dict[str, float]:
    from sklearn.metrics import adjusted_rand_score

    agreed = {}
    for name in case.attributes:
        values = data.column(name).astype(str)
        per_class = [
            adjusted_rand_score(values[rows], groups.index[rows])
            for k in range(len(data.classes))
            if len(rows := np.flatnonzero(data.labels == k)) > 1
        ]
        agreed[name] = float(np.mean(per_class)) if per_class else 0.0
    return agreed
