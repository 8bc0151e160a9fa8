"""Evidence for `drop_decomposition`: what is left of a drop when numbers of labels are matched is the net's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.drop_decomposition import DropDecomposition
from kintsugi.prove.collages import DATA, Answered, answered
from kintsugi.prove.population import covers
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

SAME, HARDER = "the same net", "a net that errs more on B"
OWN, GAP, REAL, ASKED = "drop_decomposition", "the whole gap", "gap of ReaL accuracy", "off by 0.03"
LOST = 0.1  # of the answers on B that are spoiled, whatever the image
NEAR = "minus error"
DRAWS = 60


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "drop_decomposition: distance of the matched gap from the net's own, which is 0 or known since answers were "
        "spoiled; and how often its 95% interval holds it",
        (
            Claim(SAME, NEAR, OWN, (GAP,), margin=0.05),
            Claim(SAME, NEAR, OWN, (ASKED,)),
            Claim(HARDER, NEAR, OWN, (GAP,), margin=0.05),
            Claim(HARDER, NEAR, OWN, (ASKED,)),
            *(Claim(row, NEAR, OWN, (REAL,), shown_only=True) for row in (SAME, HARDER)),
            Claim(SAME, "coverage", OWN, ("90%",)),
        ),
        _measure,
        f"{DATA}; in the second row {LOST:.0%} of the answers on B are replaced by a class that is not in the image; "
        "the interval is asked of test sets of 300 drawn from A and B",
        settings={"epochs": 6, "width": 12, "draws": DRAWS},
    )


def _measure(seed: int, run: Run) -> Measured:
    first, second = answered(seed)
    rng = numpy_rng(seed, "spoil")
    spoiled = _spoil(second, rng)
    for row, other in ((SAME, second), (HARDER, spoiled)):
        made = _measured(first, other)
        # What spoiling costs on images that have as many labels as A's, from the answers themselves.
        truth = _matched(first, second) - _matched(first, other)
        real = [float(one.correct[np.arange(len(one.label)), one.prob.argmax(axis=1)].mean()) for one in (first, other)]
        yield row, OWN, {NEAR: -abs(made["value"] - truth), "matched gap": made["value"], "true": truth}
        yield row, GAP, {NEAR: -abs(made["gap"]["value"] - truth), "gap": made["gap"]["value"]}
        yield row, REAL, {NEAR: -abs(real[0] - real[1] - truth)}
        yield row, ASKED, {NEAR: -0.03}
    whole = _measured(first, second)["value"]
    inside = []
    for _ in range(DRAWS):
        drawn = [one.take(rng.integers(len(one.label), size=300).astype(np.int64)) for one in (first, second)]
        inside.append(covers(_measured(*drawn)["interval"], whole))
    yield SAME, OWN, {"coverage": float(np.mean(inside))}
    yield SAME, "90%", {"coverage": 0.9}


def _measured(first: Answered, second: Answered) -> dict[str, Any]:
    metric = DropDecomposition()
    for number, seen in enumerate((first, second)):
        metric.update(seen.prob, seen.label, np.full(len(seen.label), number), correct=seen.correct)
    return metric.compute()


def _spoil(seen: Answered, rng: np.random.Generator) -> Answered:
    prob = seen.prob.copy()
    for i in np.flatnonzero(rng.random(len(prob)) < LOST):
        wrong = int(rng.choice(np.flatnonzero(~seen.correct[i])))
        prob[i] = np.eye(prob.shape[1])[wrong]
    return Answered(seen.label, seen.number, prob, seen.correct)


def _matched(first: Answered, second: Answered) -> float:
    """Accuracy on B by the single labels, one and two garments weighing as in A."""
    right = second.prob.argmax(axis=1) == second.label
    return float(sum((first.number == k).mean() * right[second.number == k].mean() for k in (1, 2)))
