"""Would another model win if the test labels were right? Accuracy on given, corrected and originally wrong labels.

Northcutt, Athalye and Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS
2021: models of high capacity learn the errors that training and test labels share, so where enough test labels are
wrong, a smaller model may win once they are corrected, although it loses on the labels as they are. Each model is
scored on the given labels, on the corrected ones (:mod:`kintsugi.prove.studies.corrected`), and on the samples whose
label was corrected. The paper raises the prevalence x of wrong labels by removing correct samples at random; in
expectation a model's accuracy is then a(x) = (1 - x) a_right + x a_wrong, on both kinds of label, so the prevalence at
which two models change places on corrected labels, x* = d_right / (d_right - d_wrong) with d the difference of their
accuracies, needs no draws. The table gives a(x) over a grid.

The verdict is ours: *better* means that on corrected labels another model beats the one that wins on the given labels
(the benchmark chose wrongly), *worse* that every other is worse (its choice stands), else the labels do not settle it.
Intervals are of paired bootstrap draws, at a level corrected for the number of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.batch import Outputs
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.verdict import Effect, Verdict
from kintsugi.models.predict import predict
from kintsugi.ops.statistics import paired_bootstrap, percentile_interval
from kintsugi.prove.studies.corrected import CorrectedTestSet

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

    Floats = NDArray[np.float64]

CARD = Card(
    name="benchmark_stability",
    kind="study",
    title="Whether another model would win on the test set if its labels were right, and from how many wrong ones on",
    paper="Northcutt et al., Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks, NeurIPS 2021",
    card=27,
    code="https://github.com/cleanlab/label-errors",
    status="proven",
)

CANNOT = "Cannot tell: "


@dataclass(frozen=True)
class BenchmarkStability:
    """Ranks models on given and corrected labels.

    Args:
        corrected: the corrections; None takes the data's column ``column``.
        column: class names or numbers of the corrected labels; empty or -1 where the sample is left out.
        steps: prevalences in the table, from that of the data up to 1.
        draws: bootstrap draws.
    """

    corrected: CorrectedTestSet | None = None
    column: str = "corrected"
    steps: int = 11
    draws: int = 2000

    def __post_init__(self) -> None:
        require(bool(self.column), "column", self.column, "the name of a column")
        require(self.steps >= 2, "steps", self.steps, "at least 2")
        require(self.draws >= 100, "draws", self.draws, "at least 100 draws")

    def run(self, models: Sequence[Any], data: ImageSet, rng: int) -> tuple[pa.Table, Verdict]:
        """Score the models.

        Args:
            models: two or more, or their :class:`Outputs` on the data; named by ``name`` or ``source``, else numbered.
            data: the test set with its given labels.
            rng: seed of the bootstrap.

        Returns:
            One row a model and prevalence: ``model``, ``prevalence``, ``given``, ``corrected``, ``wrong`` (accuracy on
            corrected labels where the given ones are wrong); and the verdict.
        """
        require(len(models) >= 2, "models", len(models), "two models or more")
        names = _names(models)
        kept, now = self._corrections(data)
        kept &= data.labels >= 0
        guess = np.stack([_outputs(model, data).predicted for model in models])[:, kept]
        given, now = data.labels[kept], now[kept]
        wrong = given != now
        scored = np.stack([guess == given, guess == now]).astype(np.float64)  # [2, models, samples]
        share = float(wrong.mean()) if len(wrong) else 0.0
        empty = np.full(scored.shape[:2], np.nan)
        parts = [scored[..., rows].mean(axis=2) if rows.any() else empty for rows in (~wrong, wrong)]
        part = np.stack(parts)  # [right or wrong, labels, models]
        return self._table(names, share, part), self._verdict(names, share, part, scored, numpy_rng(rng, CARD.name))

    def _corrections(self, data: ImageSet) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        if self.corrected is not None:
            return self.corrected.apply(data)
        if self.column not in data.columns:
            raise BadArgument(
                f"The data has no column {self.column!r} and no corrections were given:",
                "name the column of corrected labels, or give corrected=CorrectedTestSet.of_votes(...).",
            )
        number = {name: k for k, name in enumerate(data.classes)}
        now = np.empty(len(data), dtype=np.int64)
        for row, value in enumerate(data.column(self.column)):
            empty = value is None or value == "" or value == -1 or value != value
            known = -1 if empty else number.get(str(value), value if isinstance(value, (int, np.integer)) else -2)
            if not -1 <= int(known) < len(data.classes):
                raise BadData(f"{self.column}={value!r} is no class of the data:", "give class names or numbers.")
            now[row] = known
        return now >= 0, now

    def _table(self, names: list[str], share: float, part: Floats) -> pa.Table:
        import pyarrow as pa

        rows = []
        grid = np.linspace(share, 1.0, self.steps) if 0 < share < 1 else np.array([share])
        for number, name in enumerate(names):
            for x in grid:
                given, corrected = (_mixed(part[:, kind, number], float(x)) for kind in (0, 1))
                rows.append(
                    {
                        "model": name,
                        "prevalence": float(x),
                        "given": given,
                        "corrected": corrected,
                        "wrong": None if share == 0 else float(part[1, 1, number]),
                    }
                )
        return pa.Table.from_pylist(rows)

    def _verdict(
        self, names: list[str], share: float, part: Floats, scored: Floats, rng: np.random.Generator
    ) -> Verdict:
        if not scored.shape[2] or share == 0:
            why = "no samples are left" if not scored.shape[2] else "no label was corrected, so nothing can change"
            return Verdict("not proven", 0.0, (0.0, 0.0), f"{CANNOT}{why}.")
        accuracy = scored.mean(axis=2)
        winner = int(np.argmax(accuracy[0]))  # the first of equals
        others = [number for number in range(len(names)) if number != winner]
        level = 1 - 0.05 / len(others)
        effects = []
        for number in others:
            drawn = paired_bootstrap(scored[1, winner], scored[1, number], self.draws, rng)
            interval = percentile_interval(drawn, level)
            change = float(accuracy[1, number] - accuracy[1, winner])
            flip = crossing(part[:, 1, winner] - part[:, 1, number], share)
            told = f"{names[number]} (ahead from {100 * flip:.1f}% wrong on)" if flip is not None else names[number]
            effects.append(
                Effect(told, scored.shape[2], float(accuracy[1, winner]), float(accuracy[1, number]), change, interval)
            )
        best = max(effects, key=lambda effect: effect.difference)
        word = "not proven"
        if best.interval[0] > 0:
            word = "better"
        elif all(effect.interval[1] < 0 for effect in effects):
            word = "worse"
        rule = (
            f"On the given labels {names[winner]} wins ({100 * accuracy[0, winner]:.1f}%); on corrected ones "
            f"({100 * share:.1f}% were wrong) the best of the others, {best.group}, is compared with it: interval of "
            f"{self.draws} paired bootstrap draws at {100 * level:.2f}%."
        )
        return Verdict(word, best.difference, best.interval, rule, groups=tuple(effects))


def crossing(lead: Floats, share: float) -> float | None:
    """The prevalence, from that of the data on, at which a lead on corrected labels is gone.

    Args:
        lead: the leader's accuracy less the other's, where given labels are right and where they are wrong, ``[2]``.
        share: prevalence in the data.

    Returns:
        A share from ``share`` to 1; None where the lead is kept, or was none.
    """
    if lead[0] <= 0 or lead[1] >= 0:
        return None
    at = float(lead[0] / (lead[0] - lead[1]))
    return max(at, share)


def _mixed(part: Floats, x: float) -> float:
    """a(x); a part of no samples has no weight."""
    return float(np.nansum(np.array([1 - x, x]) * part))


def _names(models: Sequence[Any]) -> list[str]:
    """Each model's name, with its number where it has none or shares it."""
    raw = [str(getattr(model, "name", "") or getattr(model, "source", "") or "model") for model in models]
    return [name if raw.count(name) == 1 else f"{name} {number}" for number, name in enumerate(raw, start=1)]


def _outputs(model: Any, data: ImageSet) -> Outputs:
    given = model if isinstance(model, Outputs) else predict(model, data)
    return given.take(data.ids)
