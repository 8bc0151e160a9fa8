"""The trial of an augmentation that moves things: few digits on photographs, each at its own place and size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kintsugi.core.kinds import Augment
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.prove.few_digits import METRIC, RATES, rates, scores
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Parts, Try, compared, tuned_trial

if TYPE_CHECKING:
    from kintsugi.core.run import Run

ROW = "100 images to train"
IMAGES, STEPS, WIDTH = 100, 200, 8


def few_photos_trial(name: str, make: Callable[[], Augment], setting: str, words: str) -> Seeded:
    """Accuracy after as many steps with and without the augmentation.

    Args:
        name: of the method.
        make: the augmentation; must pickle.
        setting: see :func:`~kintsugi.prove.tuned.tuned_trial`.
        words: the augmentation's parameters in words.
    """
    return tuned_trial(
        name,
        f"{name}: accuracy of nets trained on few images, beside the same images as they are",
        (Claim(ROW, METRIC, name, ("ERM",)),),
        partial(_measure, name, make),
        "scikit-learn's digits 3 and 8 on its two photographs, 16 px, background independent of the class; 100 images "
        "to train; every test digit on each photograph to test; step size chosen anew for every arm and seed by the "
        "validation part",
        setting,
        settings={"augmentation": words, "step sizes": RATES, "steps": STEPS, "width": WIDTH},
    )


def _measure(name: str, make: Callable[[], Augment], part: str, seed: int, run: Run) -> Measured:
    scenes = DigitsOnPhotos()
    valid = scenes.every_group("valid", seed, times=4)
    test = valid if part == "valid" else scenes.every_group("test", seed)
    parts = Parts(scenes.mixed(IMAGES, 0.5, "pool", seed), valid, test)
    arms = {"ERM": [Try(how) for how in rates(STEPS)], name: [Try(how, augment=make()) for how in rates(STEPS)]}
    for arm, model in compared(arms, parts, scores, METRIC, width=WIDTH, seed=seed, run=run):
        yield ROW, arm, scores(model, parts.test)
