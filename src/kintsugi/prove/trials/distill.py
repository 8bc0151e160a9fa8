"""Evidence for `distill`: a student that sees what its teacher is asked about comes nearer to it.

Card 57's check, on smaller images and with tuned step sizes. Students see digits shifted by up to a pixel, but for one
arm. Function matching is 0.015 above targets fixed beforehand and 0.02 above labels; consistent views are above
independent ones; and it does not learn its images by heart, as a student with fixed targets and plain images does: its
distance (KL) to the teacher grows less from training to test images. By how much depends on the images: the card has
0.07 on Fashion-MNIST, one seed of the validation part had 0.071 here, and 0.03 is what is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kintsugi.prove.few_digits import METRIC, RATES, parts_of, rates, scores
from kintsugi.prove.small import trained, whole
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Try, compared, tuned_trial
from kintsugi.repair.augment.crop_flip import CropFlip
from kintsugi.repair.distill.agreement import distance
from kintsugi.repair.distill.distill import Distill

if TYPE_CHECKING:
    from kintsugi.core.kinds import Augment
    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet
    from kintsugi.models.base import TorchModel
    from kintsugi.prove.seeded import Measured, Seeded

ROW = "100 digits to train"
IMAGES, STEPS, WIDTH = 100, 600, 8
BY_HEART = "KL by heart"
SHIFT = CropFlip(1, flip=0.0)


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    return tuned_trial(
        "distill",
        "distill: accuracy of a small student by what the teacher is shown",
        (
            Claim(ROW, METRIC, "function matching", ("fixed targets",), margin=0.015),
            Claim(ROW, METRIC, "function matching", ("hard labels",), margin=0.02),
            Claim(ROW, METRIC, "consistent", ("independent views",), margin=0.015),
            Claim(ROW, METRIC, "consistent", ("fixed targets",), shown_only=True),
            Claim(ROW, METRIC, "function matching", ("fixed targets, plain images",), shown_only=True),
            Claim(ROW, BY_HEART, "fixed targets, plain images", ("function matching",), margin=0.03),
        ),
        _measure,
        "scikit-learn's handwritten digits, 8 px: 100 to train, 600 others for the teacher, 300 to choose by, 797 to "
        "test, cut anew for each seed; shifts by up to a pixel",
        setting,
        seeds=3,
        settings={
            "step sizes": RATES, "steps": STEPS, "width": WIDTH, "width of the teacher": 16,
            "epochs of the teacher": 30, "temperature": 1,
        },
    )  # fmt: skip


def _measure(part: str, seed: int, run: Run) -> Measured:
    parts, rest = parts_of(seed, part, IMAGES)
    teacher = trained(rest, seed, epochs=30)
    yield ROW, "the teacher", scores(teacher, parts.test)
    how = rates(STEPS)

    def taught(view: str, augment: Augment | None = SHIFT) -> list[Try]:
        return [Try(each, Distill(teacher, view=view, augment=augment)) for each in how]

    arms = {
        "hard labels": [Try(each, augment=SHIFT) for each in how],
        "fixed targets, plain images": taught("fixed", None),
        "fixed targets": taught("fixed"),
        "independent views": taught("independent"),
        "consistent": taught("consistent"),
        "function matching": taught("function_matching"),
    }
    for arm, model in compared(arms, parts, scores, METRIC, width=WIDTH, seed=seed, run=run):
        far = {name: _apart(model, teacher, data) for name, data in (("train", parts.train), ("test", parts.test))}
        yield ROW, arm, {**scores(model, parts.test), BY_HEART: far["test"] - far["train"]}


@torch.no_grad()
def _apart(model: TorchModel, teacher: TorchModel, data: ImageSet) -> float:
    image = whole(data).image
    return float(distance(model(image), teacher(image)).mean())
