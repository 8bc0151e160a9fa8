"""Evidence for `last_layer`: refitted on held-out images of every group, the layer lifts the worst one.

The validation digits are dealt in two: on one half the layer is refitted, by the other all step sizes are chosen. The
second baseline trains on the first half too, whose groups are even, so that the repair sees nothing that it does not:
it shows what the repair gives up, where training anew is open, and decides nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.rare_groups import DATA, METRIC, RATES, ROW, SETUP, TRAINING, WIDTH, parts_of, scores, tries
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Parts, Try, compared, tuned_trial
from kintsugi.repair.posthoc.last_layer import LastLayer

if TYPE_CHECKING:
    from kintsugi.core.run import Run
    from kintsugi.prove.seeded import Measured, Seeded


def trial(setting: str = "") -> Seeded:
    """``validation`` for the half of the validation part that step sizes are chosen by."""
    return tuned_trial(
        "last_layer",
        "last_layer: accuracy of the worst group, beside the same net before",
        (
            Claim(ROW, METRIC, "last_layer", ("the net before",), margin=0.05),
            Claim(ROW, METRIC, "last_layer", ("trained on both",), shown_only=True),
        ),
        _measure,
        f"{DATA}: one half of its digits; the layer is refitted on the other",
        setting,
        settings=SETUP,
    )


def _measure(part: str, seed: int, run: Run) -> Measured:
    parts = parts_of(seed, part)
    digit = parts.valid.column("digit")
    known = np.unique(digit)
    mine = np.isin(digit, numpy_rng(seed, "halves").permutation(known)[: len(known) // 2])
    held_out, valid = parts.valid.where(mine), parts.valid.where(~mine)
    parts = Parts(parts.train, valid, valid if part == "valid" else parts.test)
    both = ImageSet.concat([parts.train, held_out])
    ways = tries(
        [replace(TRAINING, lr=lr) for lr in RATES],
        lambda how: {"the net before": Try(how), "trained on both": Try(how, data=both)},
    )
    for arm, model in compared(ways, parts, scores, METRIC, width=WIDTH, seed=seed, run=run):
        yield ROW, arm, scores(model, parts.test)
        if arm == "the net before":
            mended = LastLayer()(model, held_out, numpy_rng(seed, "last_layer"))
            yield ROW, "last_layer", scores(mended, parts.test)
