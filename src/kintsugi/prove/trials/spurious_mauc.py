"""Evidence for `spurious_mauc`: it orders nets by how they fail without the shortcut, which accuracy does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.data.compose.digits_on_photos import PHOTOS, DigitsOnPhotos
from kintsugi.metrics.spurious_mauc import SpuriousMauc
from kintsugi.models.predict import predict
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import trained
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

MINORITIES = (0.0, 0.02, 0.1, 0.5)
ROW = "digits on photographs"


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "spurious_mauc",
        "spurious_mauc: of nets that saw a shortcut more or less often, and how its order agrees (Spearman) with that "
        "of accuracy in the worst group, beside accuracy on images like those of training",
        (
            Claim(ROW, "spurious mAUC", "trained without the shortcut", ("trained with it alone",), margin=0.1),
            Claim(ROW, "rank agreement", "spurious_mauc", ("accuracy as in training",), margin=0.1),
        ),
        _measure,
        "scikit-learn's digits 3 and 8 on its two photographs, 16 px, 800 to train, of which the share that breaks the "
        f"shortcut is {', '.join(map(str, MINORITIES))}; images of the shortcut alone are the same grounds without "
        "ink; claims were fixed on seed 100",
        settings={"epochs": 8, "width": 16},
    )


def _measure(seed: int, run: Run) -> Measured:
    from scipy.stats import spearmanr

    scenes, bare = DigitsOnPhotos(), DigitsOnPhotos(ink=(0.0, 0.0))  # the same random numbers, drawn without ink
    test, ground = scenes.every_group("test", seed), bare.every_group("test", seed)
    place = np.array([PHOTOS.index(name) for name in test.column("background")])
    found, worst, usual = [], [], []
    for minority in MINORITIES:
        model = trained(scenes.mixed(800, minority, "pool", seed), seed, epochs=8)
        said, bared, metric = predict(model, test), predict(model, ground), SpuriousMauc(draws=100)
        right = said.predicted == test.labels
        none = np.full(len(test), -1)
        metric.update(said.prob, test.labels, none)
        metric.update(bared.prob, none, place)  # the ground of a class shows its shortcut, and no digit
        found.append(metric.compute()["value"])
        worst.append(min(right[(test.labels == k) & (place == a)].mean() for k in (0, 1) for a in (0, 1)))
        same = scenes.mixed(400, minority, "test", seed)
        usual.append(float((predict(model, same).predicted == same.labels).mean()))
    for arm, at in (("trained with it alone", 0), ("trained without the shortcut", -1)):
        yield (
            ROW,
            arm,
            {"spurious mAUC": found[at], "worst group": float(worst[at]), "accuracy as in training": usual[at]},
        )
    for arm, order in (("spurious_mauc", found), ("accuracy as in training", usual)):
        agreement = float(spearmanr(order, worst).statistic) if len(set(order)) > 1 else 0.0
        yield ROW, arm, {"rank agreement": agreement}
