"""Evidence for `multi_label_accuracy`: where images of several things make accuracy drop, it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.multi_label_accuracy import MultiLabelAccuracy
from kintsugi.prove.collages import DATA, SHARES, Answered, answered
from kintsugi.prove.population import covers
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from typing import Any

    from kintsugi.core.run import Run

DROP, RANKING, TRUTH = "15% and 50% of two garments", "images of two garments", "test sets of 100"
OWN, TOP1, PLAIN, CHANCE = "multi_label_accuracy", "top-1 accuracy", "percentile bootstrap", "chance and 0.2"
ASKED = "off by 0.05"
DRAWS = 200


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "multi_label_accuracy: how little it drops where more images hold two things, how well it knows a ranking of "
        "two from chance, and how often its 95% interval holds the truth",
        (
            Claim(DROP, "minus the drop", OWN, (TOP1,), margin=0.05),
            Claim(DROP, "minus the drop", OWN, (ASKED,)),
            Claim(DROP, "drop", TOP1, ("ten points",)),
            Claim(RANKING, "variable top-k", OWN, (CHANCE,)),
            Claim(TRUTH, "coverage", OWN, ("93%",)),
            Claim(TRUTH, "coverage", OWN, (PLAIN,), shown_only=True),
        ),
        _measure,
        DATA,
        settings={"epochs": 6, "width": 12, "shares": SHARES, "chance": "2 of 10 classes: 0.2", "draws": DRAWS},
    )


def _measure(seed: int, run: Run) -> Measured:
    first, second = answered(seed)
    made = [_measured(one) for one in (first, second)]
    drop = made[0]["value"] - made[1]["value"]
    yield DROP, OWN, {"minus the drop": -abs(drop), "ReaL drop": made[0]["real"]["value"] - made[1]["real"]["value"]}
    yield DROP, TOP1, {"minus the drop": -abs(first.top1 - second.top1), "drop": first.top1 - second.top1}
    yield DROP, ASKED, {"minus the drop": -0.05}
    yield DROP, "ten points", {"drop": 0.1}
    two = next(row for row in made[1]["by_k"] if row["k"] == 2)
    yield RANKING, OWN, {"variable top-k": two["variable_topk"], "exact match": two["exact_match"]}
    yield RANKING, CHANCE, {"variable top-k": 0.4}
    rng, inside = numpy_rng(seed, "draws"), []
    for _ in range(DRAWS):
        drawn = second.take(rng.integers(len(second.label), size=100).astype(np.int64))
        right = drawn.correct[np.arange(100), drawn.prob.argmax(axis=1)]
        interval = _measured(drawn)["interval"]
        inside.append((covers(interval, made[1]["value"]), covers(_bootstrap(right, drawn, rng), made[1]["value"])))
    for arm, share in zip((OWN, PLAIN), np.mean(inside, axis=0), strict=True):
        yield TRUTH, arm, {"coverage": float(share)}
    yield TRUTH, "93%", {"coverage": 0.93}


def _measured(seen: Answered) -> dict[str, Any]:
    metric = MultiLabelAccuracy()
    metric.update(seen.prob, seen.label, correct=seen.correct)
    return metric.compute()


def _bootstrap(right: Any, seen: Answered, rng: np.random.Generator) -> tuple[float, float]:
    """Images drawn again, classes averaged."""
    label, n = seen.label, len(right)
    again = rng.multinomial(n, np.full(n, 1 / n), size=300)
    inside = np.eye(10)[label]
    size = again @ inside
    share = np.divide(again @ (inside * right[:, None]), size, out=np.full(size.shape, np.nan), where=size > 0)
    low, high = np.quantile(np.nanmean(share, axis=1), [0.025, 0.975])
    return float(low), float(high)
