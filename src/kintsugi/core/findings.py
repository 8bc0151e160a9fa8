"""`Findings`: what an auditor, a stress test, a discoverer or a detector found, one row each, worst first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import one_of, require

if TYPE_CHECKING:
    import pyarrow as pa

SUBJECTS = ("sample", "pair", "group", "class", "dataset")


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        subject: what it is about, one of :data:`SUBJECTS`.
        ids: the samples (or the name of the group or class) concerned.
        score: 0..1, higher is worse.
        flagged: whether it is past the threshold.
        check: which check found it, such as ``label_error``.
        suggestion: what to do: ``relabel:3``, ``drop``, ``review``, ``split``...
        why: one sentence for a person.
        evidence: numbers behind it, JSON-able.
    """

    subject: str
    ids: tuple[str, ...]
    score: float
    flagged: bool
    check: str
    suggestion: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("subject", self.subject, SUBJECTS)
        require(0.0 <= self.score <= 1.0, "score", self.score, "a number from 0 to 1")

    @property
    def key(self) -> str:
        """A stable name: the same check on the same subjects is the same finding, in any run."""
        text = "\n".join((self.check, self.subject, *sorted(self.ids)))
        return f"{self.check}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a check says in all.

    Attributes:
        threshold: score from which a finding is flagged, or None when the check cannot tell.
        count: estimated number of true findings, or None when the check cannot tell.
        interval: 95% interval of the count.
        notes: sentences a reader must see, such as where outputs came from.
    """

    threshold: float | None = None
    count: float | None = None
    interval: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """Findings of one method, sorted by score (worst first; ties by key, so the order never depends on chance).

    Attributes:
        rows: the findings.
        card: name of the method.
        params: its configuration.
        summary: see :class:`Summary`.
    """

    rows: tuple[Finding, ...]
    card: str
    params: Mapping[str, Any] = field(default_factory=dict)
    summary: Summary = field(default_factory=Summary)

    @classmethod
    def of(
        cls,
        rows: Iterable[Finding],
        card: str,
        params: Mapping[str, Any] | None = None,
        summary: Summary | None = None,
    ) -> Findings:
        """Sort the rows and wrap them."""
        ordered = sorted(rows, key=lambda row: (-row.score, row.check, row.ids))
        return cls(tuple(ordered), card, dict(params or {}), summary or Summary())

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Any:
        return iter(self.rows)

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """The findings past the threshold."""
        return tuple(row for row in self.rows if row.flagged)

    def scores(self, ids: Sequence[str], *, missing: float = 0.0) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Highest score of any finding naming each id, float ``[len(ids)]``."""
        best: dict[str, float] = {}
        for row in self.rows:
            for name in row.ids:
                best[name] = max(best.get(name, missing), row.score)
        return np.array([best.get(name, missing) for name in ids], dtype=np.float64)

    def to_arrow(self) -> pa.Table:
        """One row a finding; ``evidence`` is JSON text. Written to ``findings.parquet`` of a run."""
        import pyarrow as pa

        schema = pa.schema(
            [
                ("key", pa.string()),
                ("card", pa.string()),
                ("subject", pa.string()),
                ("ids", pa.list_(pa.string())),
                ("score", pa.float64()),
                ("flagged", pa.bool_()),
                ("check", pa.string()),
                ("suggestion", pa.string()),
                ("why", pa.string()),
                ("evidence", pa.string()),
            ]
        )
        rows = [
            {
                "key": row.key,
                "card": self.card,
                "subject": row.subject,
                "ids": list(row.ids),
                "score": row.score,
                "flagged": row.flagged,
                "check": row.check,
                "suggestion": row.suggestion,
                "why": row.why,
                "evidence": json.dumps(row.evidence, sort_keys=True, default=float),
            }
            for row in self.rows
        ]
        return pa.Table.from_pylist(rows, schema=schema)
