"""Evidence for `calibration_error`: debiased it is nearer the truth, its interval holds it, and its test is honest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.calibration_error import CalibrationError
from kintsugi.prove.population import DATA, Population, covers, population
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

REAL, HONEST = "the net's answers", "answers drawn as the net says"
DEBIASED, PLUG_IN, PLAIN, PROMISE = "debiased", "plug-in", "percentile bootstrap", "90%"
NEAR = "minus distance from the truth"
SIZE, DRAWS = 200, 60


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "calibration_error",
        "calibration_error: distance of the estimate from the truth, share of test sets whose 95% interval holds it, "
        "and in which a net is rightly called calibrated or not (p < 0.05)",
        (
            Claim(REAL, NEAR, DEBIASED, (PLUG_IN,), shown_only=True),  # far from calibration there is little to undo
            Claim(REAL, "coverage", DEBIASED, (PLAIN,)),
            Claim(REAL, "coverage", DEBIASED, (PROMISE,)),
            Claim(HONEST, NEAR, DEBIASED, (PLUG_IN,)),
            Claim(HONEST, "coverage", DEBIASED, (PLAIN,), margin=0.1),
            Claim(HONEST, "told right", DEBIASED, (PROMISE,)),
        ),
        _measure,
        f"{DATA}; {SIZE} answers a test set, {DRAWS} test sets a seed, 15 bins of equal width; the truth is that of "
        "all answers, and 0 where labels are drawn with the probabilities the net states; claims were fixed on seeds "
        "100 and 101",
    )


def _measure(seed: int, run: Run) -> Measured:
    whole, rng = population(seed), numpy_rng(seed, "draws")
    held: dict[tuple[str, str], dict[str, list[float]]] = {}
    true = whole.measured(CalibrationError(draws=100))["value"]
    for _ in range(DRAWS):
        drawn = whole.draw(SIZE, rng)
        for row in (REAL, HONEST):
            seen = drawn if row == REAL else Population(drawn.prob, _dealt(drawn.prob, rng), drawn.group)
            target = true if row == REAL else 0.0
            answer, plain = seen.measured(CalibrationError(debias=True)), seen.measured(CalibrationError(draws=100))
            told = float((answer["p_value"] < 0.05) == (row == REAL))
            again = [_plug_in(seen.draw(SIZE, rng)) for _ in range(200)]
            low, high = np.quantile(again, [0.025, 0.975])
            for arm, scores in (
                (
                    DEBIASED,
                    {NEAR: -abs(answer["value"] - target), "coverage": float(covers(answer["interval"], target))},
                ),
                (DEBIASED, {"told right": told}),
                (PLUG_IN, {NEAR: -abs(plain["value"] - target)}),
                (PLAIN, {"coverage": float(covers((float(low), float(high)), target))}),
            ):
                for metric, value in scores.items():
                    held.setdefault((row, arm), {}).setdefault(metric, []).append(value)
    for (row, arm), values in held.items():
        yield row, arm, {metric: float(np.mean(each)) for metric, each in values.items()}
    for row in (REAL, HONEST):
        yield row, PROMISE, {"coverage": 0.9, "told right": 0.9}


def _dealt(prob: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A label for each row, drawn with its probabilities."""
    return np.asarray((prob.cumsum(axis=1) > rng.random((len(prob), 1))).argmax(axis=1), dtype=np.int64)


def _plug_in(seen: Population, bins: int = 15) -> float:
    """The plain formula: sum over bins of |right answers - confidences| / N."""
    top = seen.prob.max(axis=1)
    gap = np.bincount(np.ceil(top * bins).astype(int), weights=seen.right - top)
    return float(np.abs(gap).sum() / len(top))
