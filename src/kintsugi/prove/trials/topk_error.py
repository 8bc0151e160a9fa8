"""Evidence for `topk_error`: its 95% interval holds the truth as often as it says, where errors are few as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.topk_error import TopkError
from kintsugi.ops.statistics import bootstrap_sums, percentile_interval
from kintsugi.prove.population import DATA, Population, covers, population
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from typing import Any

    from kintsugi.core.run import Run

CLEAN, CAMERAS = "a clean camera, top-2", "all cameras, top-1"
OWN, BOOTSTRAP = "topk_error", "bootstrap over images"
SIZE, DRAWS = 100, 200


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "topk_error: share of drawn test sets whose 95% interval holds the true error",
        (
            *(Claim(row, "coverage", OWN, ("90%",)) for row in (CLEAN, CAMERAS)),
            *(Claim(row, "minus coverage", OWN, ("minus 99.5%",)) for row in (CAMERAS,)),
            Claim(CLEAN, "coverage", OWN, (BOOTSTRAP,), margin=0.05),
        ),
        _measure,
        f"{DATA}; {DRAWS} test sets of {SIZE} answers a seed; the card asks for 90 to 99% of 200 test sets",
    )


def _measure(seed: int, run: Run) -> Measured:
    every, rng = population(seed), numpy_rng(seed, "draws")
    for row, whole, k in ((CLEAN, every.take(np.flatnonzero(every.group == 0)), 2), (CAMERAS, every, 1)):
        truth, inside = _asked(whole, k)["value"], []
        for _ in range(DRAWS):
            drawn = whole.draw(SIZE, rng)
            made = _asked(drawn, k)
            wrong = np.arange(SIZE)[:, None] < round(made["value"] * SIZE)
            again = percentile_interval(bootstrap_sums(wrong, 500, rng)[:, 0] / SIZE)
            inside.append((covers(made["interval"], truth), covers(again, truth)))
        for arm, share in zip((OWN, BOOTSTRAP), np.mean(inside, axis=0), strict=True):
            yield row, arm, {"coverage": float(share), "minus coverage": -float(share), "true error": truth}
        yield row, "90%", {"coverage": 0.9}
        yield row, "minus 99.5%", {"minus coverage": -0.995}


def _asked(seen: Population, k: int) -> dict[str, Any]:
    return seen.measured(TopkError(k))
