"""Evidence for `pretraining_comparison`: filtering costs a self-supervised encoder next to nothing, and it can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.marked_garments import SIDE, garments
from kintsugi.prove.pretext import Features, small_model
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.studies.pretraining_comparison import PretrainingComparison, probe
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

ROW, NOISE = "15% with a sign, beside none", "beside noise"
IMAGES, KNOWN, UNSEEN = 2000, 1000, 2000


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "pretraining_comparison",
        "pretraining_comparison: a linear probe after pretraining on filtered and on unfiltered garments",
        (
            # Two one-sided tests: neither is worse than the other by two points.
            Claim(ROW, "accuracy", "filtered", ("unfiltered, less 0.02",)),
            Claim(ROW, "accuracy", "unfiltered", ("filtered, less 0.02",)),
            Claim(ROW, "accuracy", "filtered", ("random encoder",), margin=0.10),
            Claim(NOISE, "accuracy", "garments", ("noise",), margin=0.02),
        ),
        _measure,
        "Fashion-MNIST's garments on canvases of 36 px; 2000 images pretrain (SimCLR), once with a "
        "sign on 15% of them and once with other images instead; 1000 without a sign train the probe, 2000 test it; "
        "nothing was tuned, but telling which way up they stand had been tried before: worse than a random encoder",
        seeds=3,
        settings={"pretraining": "SimCLR, 30 epochs", "net": "SmallCNN, width 32", "probe's C": 1.0},
    )


def _measure(seed: int, run: Run) -> Measured:
    whole = garments(seed, "train", 0, 2 * IMAGES, 0.15)
    first = whole.data.select(np.arange(IMAGES))
    clean = whole.data.where(~whole.marked).select(np.arange(IMAGES))
    noise = numpy_rng(seed, "noise").integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
    other = ImageSet.from_arrays(noise, np.zeros(IMAGES, int), first.classes)
    known = garments(seed, "train", 30000, KNOWN, 0.0).data
    unseen = garments(seed, "test", 0, UNSEEN, 0.0).data
    target = {"garments": (known, unseen)}

    for row, a, b in (
        (ROW, ("filtered", clean), ("unfiltered", first)),
        (NOISE, ("garments", clean), ("noise", other)),
    ):
        both = ImageSet.concat([_named(images, name) for name, images in (a, b)])
        table, _ = PretrainingComparison(targets=target, seeds=1).run([small_model(seed)], both, seed)
        for each in table.to_pylist():
            yield row, each["source"], {"accuracy": each["accuracy"]}
            yield row, f"{each['source']}, less 0.02", {"accuracy": each["accuracy"] - 0.02}
    untrained: Any = Features(small_model(seed), "untrained")
    yield ROW, "random encoder", {"accuracy": float(probe(untrained, known, unseen).mean())}


def _named(images: ImageSet, source: str) -> ImageSet:
    """The same images under ids of their own, so that both cuts may hold an image."""
    return images.with_column("id", [f"{source} {name}" for name in images.ids]).with_column(
        "source", [source] * len(images)
    )
