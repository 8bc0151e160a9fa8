"""Evidence for `cutmix`: nets know a digit by all its parts, and bear its middle being hidden.

The paper's test of occlusion (section 4.4): a box in the middle of every test image is black. Every arm chooses by its
accuracy on whole images, so that none was tuned to the box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.prove.few_digits import METRIC, RATES, parts_of, rates, scores
from kintsugi.prove.small import accuracy, whole
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Try, compared, tuned_trial
from kintsugi.repair.augment.cutmix import CutMix

if TYPE_CHECKING:
    from kintsugi.core.run import Run
    from kintsugi.prove.seeded import Measured, Seeded

ROW = "100 digits to train"
HIDDEN = "accuracy, middle hidden"
IMAGES, STEPS, WIDTH = 100, 400, 16


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    return tuned_trial(
        "cutmix",
        "cutmix: accuracy on digits whose middle is hidden, and on whole ones",
        (
            Claim(ROW, HIDDEN, "cutmix", ("ERM",), margin=0.05),
            Claim(ROW, METRIC, "cutmix", ("ERM",), shown_only=True),
        ),
        _measure,
        "scikit-learn's handwritten digits, 8 px: 100 to train, 300 to choose by, 797 to test, cut anew for each seed; "
        "4 of 8 pixels each way are hidden",
        setting,
        settings={"step sizes": RATES, "alpha": 1, "steps": STEPS, "width": WIDTH},
    )


def _measure(part: str, seed: int, run: Run) -> Measured:
    parts, _ = parts_of(seed, part, IMAGES)
    batch = whole(parts.test)
    image = batch.image.clone()
    image[:, :, 2:6, 2:6] = 0.0
    arms = {
        "ERM": [Try(how) for how in rates(STEPS)],
        "cutmix": [Try(how, augment=CutMix()) for how in rates(STEPS)],
    }
    for arm, model in compared(arms, parts, scores, METRIC, width=WIDTH, seed=seed, run=run):
        yield ROW, arm, {HIDDEN: accuracy(model, batch.replace(image=image)), **scores(model, parts.test)}
