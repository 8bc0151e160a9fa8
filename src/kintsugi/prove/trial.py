"""A `Trial` runs a method beside its baselines on real images over seeds; claims about it are proven or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kintsugi.core.errors import require
from kintsugi.core.randomness import numpy_rng

if TYPE_CHECKING:
    from kintsugi.core.run import Run


@dataclass(frozen=True)
class Cell:
    """One number of one arm.

    Attributes:
        row: the setting, such as ``5% pool``.
        unit: what seeds share (one training of the teacher and generator): seeds of one unit are not independent.
        seed: the paired seed; the same seed sees the same data in every arm.
        arm: the method or a baseline.
        scores: values by metric.
    """

    row: str
    unit: str
    seed: int
    arm: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Claim:
    """``method`` beats the best of ``against`` by at least ``margin`` in ``metric``, in one row.

    The best baseline is chosen anew for every seed, which favours the baselines. A claim with ``shown_only`` is
    printed and decides nothing.
    """

    row: str
    metric: str
    method: str
    against: tuple[str, ...]
    margin: float = 0.0
    shown_only: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a claim: the mean difference over seeds and its 95% interval."""

    claim: Claim
    effect: float
    interval: tuple[float, float]
    seeds: int
    proven: bool


@dataclass(frozen=True)
class Evidence:
    """All cells, all outcomes, and how to repeat them."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    outcomes: tuple[Outcome, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def proven(self) -> bool:
        """Whether every deciding claim holds."""
        deciding = [outcome for outcome in self.outcomes if not outcome.claim.shown_only]
        return bool(deciding) and all(outcome.proven for outcome in deciding)

    def table(self) -> list[dict[str, Any]]:
        """Mean, spread and count of every row, arm and metric."""
        keys = list(dict.fromkeys((c.row, c.arm, m) for c in self.cells for m in c.scores))
        out = []
        for row, arm, metric in keys:
            values = [c.scores[metric] for c in self.cells if (c.row, c.arm) == (row, arm) and metric in c.scores]
            out.append(
                {
                    "row": row,
                    "arm": arm,
                    "metric": metric,
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
                    "min": float(np.min(values)),
                    "max": float(np.max(values)),
                    "seeds": len(values),
                }
            )
        return out

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and for ``benchmarks/evidence``."""
        return {
            "name": self.name,
            "title": self.title,
            "verdict": "proven" if self.proven else "not proven",
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "table": self.table(),
            "cells": [asdict(cell) for cell in self.cells],
            "facts": self.facts,
        }


class Trial(Protocol):
    """A trial. Its units run in processes of their own, so everything it holds must pickle."""

    name: str
    title: str
    claims: tuple[Claim, ...]

    def units(self, seeds: int | None) -> Sequence[str]:
        """Names of the independent pieces of work, enough for ``seeds`` paired seeds (None: the trial's default)."""

    def run(self, unit: str, run: Run) -> list[Cell]:
        """Do one piece; interrupted work may resume from its folder."""

    def facts(self) -> dict[str, Any]:
        """Data, settings and where they were fixed, for the record."""


def judge(claim: Claim, cells: Sequence[Cell], *, draws: int = 10000) -> Outcome:
    """Paired differences over seeds; units are resampled, then seeds within them.

    Raises:
        BadArgument: an arm of the claim was not run for every seed.
    """
    by_arm: dict[str, dict[tuple[str, int], float]] = {}
    for cell in cells:
        if cell.row == claim.row and claim.metric in cell.scores:
            by_arm.setdefault(cell.arm, {})[cell.unit, cell.seed] = cell.scores[claim.metric]
    own = by_arm.get(claim.method, {})
    require(bool(own), "method", claim.method, f"an arm that was run in row {claim.row!r}")
    for arm in claim.against:
        require(set(by_arm.get(arm, {})) == set(own), "against", arm, f"an arm run on the seeds of {claim.method!r}")
    keys = sorted(own)
    difference = np.array([own[key] - max(by_arm[arm][key] for arm in claim.against) for key in keys])
    units = np.array([key[0] for key in keys])
    low, high = _nested_interval(difference, units, draws)
    effect = float(difference.mean())
    return Outcome(claim, effect, (low, high), len(keys), effect >= claim.margin and low > 0.0)


def _nested_interval(values: np.ndarray[Any, Any], units: np.ndarray[Any, Any], draws: int) -> tuple[float, float]:
    """95% interval of the mean by a two-stage bootstrap: units, then seeds within each drawn unit."""
    rng = numpy_rng(0, "judge")
    parts = [values[units == unit] for unit in np.unique(units)]
    resampled = np.stack(
        [part[rng.integers(len(part), size=(draws, len(part)))].mean(axis=1) for part in parts], axis=1
    )
    # A unit drawn twice must be resampled twice, independently: draw its second stage from a shuffled copy.
    picks = rng.integers(len(parts), size=(draws, len(parts)))
    weights = np.array([len(part) for part in parts], dtype=np.float64)
    means = np.empty((draws, len(parts)))
    for place in range(len(parts)):
        shuffled = resampled[rng.permutation(draws)]
        means[:, place] = shuffled[np.arange(draws), picks[:, place]]
    chosen = weights[picks]
    low, high = np.percentile((means * chosen).sum(axis=1) / chosen.sum(axis=1), [2.5, 97.5])
    return float(low), float(high)
