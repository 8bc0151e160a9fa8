"""Evidence for `watermark`: as a probe it tells a net that was trained with the mark as a cue from one that was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.models.predict import predict
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import trained
from kintsugi.prove.trial import Claim
from kintsugi.stress.bias.watermark import Watermark, carton_gap

if TYPE_CHECKING:
    from kintsugi.core.run import Run

ROW = "digits on photographs"


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "watermark",
        "watermark: accuracy a mark on all test images costs a net trained with the mark on one class, and one without",
        (
            Claim(ROW, "accuracy lost", "trained with the cue", ("trained without",), margin=0.1),
            Claim(ROW, "pull to the class", "trained with the cue", ("trained without",), margin=0.1),
        ),
        _measure,
        "scikit-learn's digits on its two photographs, 32 px, background independent of the class; 800 to train, every "
        "test digit on each photograph to test; size of the image and share of the mark were fixed on the validation "
        "part (at 20 px the signs are 3 px high and no net takes them up; on all images of the class they become the "
        "only thing a net looks at, and it fails without them)",
        settings={"epochs": 12, "width": 16, "mark in training": "half of the images of the second class"},
    )


def _measure(seed: int, run: Run) -> Measured:
    scenes = DigitsOnPhotos(32)
    train, test = scenes.mixed(800, 0.5, "pool", seed), scenes.every_group("test", seed)
    probe = Watermark()(test, numpy_rng(seed, "probe"))
    cue = Watermark(share=0.5, classes=(train.classes[1],))
    for arm, data in (("trained with the cue", cue(train, numpy_rng(seed, "cue"))), ("trained without", train)):
        model = trained(data, seed)
        clean, marked = predict(model, test), predict(model, probe)
        gap = carton_gap(clean, marked, test.labels)
        pull = float((marked.predicted == 1).mean() - (clean.predicted == 1).mean())
        right = float((clean.predicted == test.labels).mean())
        yield ROW, arm, {"accuracy lost": -gap.change, "pull to the class": pull, "clean accuracy": right}
