"""Evidence for `soft_targets`: a student of few images learns more from a teacher's probabilities than from labels.

The teacher learned from other digits, so that what it says of the student's images is not learned by heart. Label
smoothing, one of the baseline's two tries, is what soft labels are when they know nothing of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.models.predict import predict
from kintsugi.prove.few_digits import METRIC, parts_of, scores, settings
from kintsugi.prove.small import trained
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Try, compared, tuned_trial
from kintsugi.training.objective.erm import ERM
from kintsugi.training.objective.soft_targets import SoftTargets

if TYPE_CHECKING:
    from kintsugi.core.run import Run
    from kintsugi.prove.seeded import Measured, Seeded

ROW = "100 digits to train"
IMAGES, STEPS, WIDTH = 100, 400, 8
TEMPERATURES, SMOOTHINGS = (1.0, 4.0), (0.0, 0.1)


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    return tuned_trial(
        "soft_targets",
        "soft_targets: accuracy of students trained on a teacher's soft labels, beside hard and smoothed ones",
        (Claim(ROW, METRIC, "soft_targets", ("hard labels",)),),
        _measure,
        "scikit-learn's handwritten digits, 8 px: 100 to train, 600 others for the teacher, 300 to choose by, 797 to "
        "test, cut anew for each seed",
        setting,
        settings={
            "temperature": TEMPERATURES, "smoothing of hard labels": SMOOTHINGS,
            "steps": STEPS, "width": WIDTH, "width of the teacher": 16, "epochs of the teacher": 30,
        },
    )  # fmt: skip


def _measure(part: str, seed: int, run: Run) -> Measured:
    parts, rest = parts_of(seed, part, IMAGES)
    teacher = trained(rest, seed, epochs=30)
    yield ROW, "the teacher", scores(teacher, parts.test)
    told = parts.train.with_targets(predict(teacher, parts.train).prob)
    arms = {
        "hard labels": [Try(settings(STEPS), ERM(smoothing)) for smoothing in SMOOTHINGS],
        "soft_targets": [Try(settings(STEPS), SoftTargets(heat), data=told) for heat in TEMPERATURES],
    }
    for arm, model in compared(arms, parts, scores, METRIC, width=WIDTH, seed=seed, run=run):
        yield ROW, arm, scores(model, parts.test)
