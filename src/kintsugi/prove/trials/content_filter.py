"""Evidence for `content_filter`: little is left, little is lost, and the audited rate covers what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.content.content_filter import ContentFilter, residual_rate
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.prove.marked_garments import detectors, garments
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

ROW, AUDIT, COST = "15% with a sign", "audits of 500 images", "images the costly stage looks at"
IMAGES, AUDITS = 4000, 40


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    left, lost = "minus residual rate", "minus false removals"
    return Seeded(
        "content_filter",
        "content_filter: images with a sign that are left, others that are removed, and the audit's interval",
        (
            Claim(ROW, left, "content_filter", ("0.01",)),
            Claim(ROW, lost, "content_filter", ("0.05",)),
            Claim(ROW, left, "content_filter", ("as many at random", "the cheap stage alone"), margin=0.05),
            Claim(AUDIT, "covered", "content_filter", ("nine in ten",)),
            Claim(COST, "share spared", "content_filter", ("none spared",)),
        ),
        _measure,
        "Fashion-MNIST's test garments on canvases of 36 px, 4000, a sign on 15% of them; detectors learn from 300 "
        "labelled crops of training garments; thresholds come from these crops; all was fixed on seeds 100 to 102",
        settings={"stages": "template, patch net", "audits": AUDITS, "images an audit": 500},
    )


def _measure(seed: int, run: Run) -> Measured:
    template, net, cuts = detectors(seed)
    some = garments(seed, "test", 0, IMAGES, 0.15)
    made = ContentFilter([net, template], threshold=(cuts[1], cuts[0]), batch_size=256).run(some.data)
    gone = made.stage >= 0
    yield ROW, "content_filter", _rates(gone, some.marked)
    yield ROW, "the cheap stage alone", _rates(made.stage == 0, some.marked)
    random = np.zeros(IMAGES, dtype=bool)
    random[numpy_rng(seed, "random").permutation(IMAGES)[: int(gone.sum())]] = True
    yield ROW, "as many at random", _rates(random, some.marked)
    yield ROW, "0.01", {"minus residual rate": -0.01}
    yield ROW, "0.05", {"minus false removals": -0.05}
    yield AUDIT, "content_filter", {"covered": _covered(seed, made.stage == -1, some.marked)}
    yield AUDIT, "nine in ten", {"covered": 0.9}
    yield COST, "content_filter", {"share spared": 1 - made.stages[1].seen / IMAGES}
    yield COST, "none spared", {"share spared": 0.0}


def _rates(gone: NDArray[np.bool_], marked: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "minus residual rate": -float(marked[~gone].mean()),
        "minus false removals": -float(gone[~marked].mean()),
        "found": float(gone[marked].mean()),
    }


def _covered(seed: int, kept: NDArray[np.bool_], marked: NDArray[np.bool_]) -> float:
    """How often the interval of an audit of what was kept holds the rate that is truly left."""
    truth, rng = float(marked[kept].mean()), numpy_rng(seed, "audits")
    hits = 0
    for _ in range(AUDITS):
        looked = rng.permutation(np.flatnonzero(kept))[:500]
        low, high = residual_rate(int(marked[looked].sum()), len(looked))
        hits += low <= truth <= high
    return hits / AUDITS
