"""Evidence for `mistake_triage`: what it says of a net's mistakes agrees with why they were planted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.data.label_sets import LabelSets
from kintsugi.data.masks import pack_masks
from kintsugi.discover.slices.mistake_triage import MistakeTriage
from kintsugi.metrics.multi_label_accuracy import MultiLabelAccuracy
from kintsugi.models.predict import predict
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits, trained
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from kintsugi.core.run import Run

SORTED, SCORED = "mistakes on what was planted", "labels completed"
OWN, ASKED, RULE, GUESS = "mistake_triage", "as the card asks", "confidence alone", "the commonest cause"
CAUSES = {
    "wrong label": "valid_answer",
    "two digits": "several_objects",
    "patch": "spurious",
    "turned": "non_prototypical",
}
PLANTED = {"wrong label": 30, "two digits": 40, "patch": 20, "turned": 20}
CELL, PATCH, PATCHED = 10, 3, 7  # side of a quarter, side of the patch, and the class it goes with in training


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "mistake_triage: share of a net's mistakes on planted images whose category agrees with the planted cause, of "
        "four; and how the gain of completed labels agrees with their share",
        (
            Claim(SORTED, "agreement", OWN, (ASKED,)),
            Claim(SORTED, "agreement", OWN, (RULE, GUESS), margin=0.1),
            Claim(SCORED, "minus error of the gain", "multi_label_accuracy", (ASKED,)),
        ),
        _measure,
        "scikit-learn's handwritten digits, 8 px in a quarter of 20 px; a small net learned from 3000 images, of which "
        "six in ten sevens have a white patch elsewhere; its mistakes on 797 test images of one digit, into which are "
        "planted 30 wrong labels, 40 images of two digits and one label (the card has 20: in about half the net says "
        "that label), 20 other digits with the patch and 20 turned by a quarter or three; masks of the digits are "
        "given. Confidence alone: wrong label above 0.9, two digits where the label has 0.1, turned below 0.6, else "
        "patch",
        settings={"epochs": 8, "width": 16, "seeds of the design": "100, 101"},
    )


def _measure(seed: int, run: Run) -> Measured:
    rng = numpy_rng(seed, OWN)
    train, rest = digits(seed)
    pixels = [np.concatenate([image for _, image in part.stream(512)])[..., 0] for part in (train, rest)]
    learned = rng.integers(0, len(train), 3000)
    tied = (train.labels[learned] == PATCHED) & (rng.random(3000) < 0.6)
    scenes = np.stack([_scene([pixels[0][i]], bool(p), rng)[0] for i, p in zip(learned, tied, strict=True)])
    model = trained(ImageSet.from_arrays(scenes, train.labels[learned], train.classes), seed, epochs=8)
    data, cause, sets = _planted(pixels[1], rest.labels, train.classes, rng)
    outputs = predict(model, data, features=True)
    found = {row.ids[0]: row.check for row in MistakeTriage(model)(data, outputs, rng)}
    rows = np.array([i for i, name in enumerate(data.ids) if name in found and cause[i]], dtype=np.int64)
    want = np.array([CAUSES[cause[i]] for i in rows])
    said = np.array([found[data.ids[i]] for i in rows])
    each = {f"agreement, {name}": float((said == want)[want == check].mean()) for name, check in CAUSES.items()}
    yield SORTED, OWN, {"agreement": float((said == want).mean()), "mistakes": float(len(rows)), **each}
    top, given = outputs.prob[rows].max(axis=1), outputs.prob[rows, data.labels[rows]]
    plain = np.select(
        [given >= 0.1, top > 0.9, top < 0.6], ["several_objects", "valid_answer", "non_prototypical"], "spurious"
    )
    yield SORTED, RULE, {"agreement": float((plain == want).mean())}
    yield SORTED, GUESS, {"agreement": max(float((want == check).mean()) for check in CAUSES.values())}
    yield SORTED, ASKED, {"agreement": 0.6}
    metric = MultiLabelAccuracy()
    metric.update(outputs.prob, data.labels, correct=sets.flags(10))
    made = metric.compute()
    # Wrong labels cost a point each, two digits half of one: the net says either.
    share = (PLANTED["wrong label"] + PLANTED["two digits"] / 2) / len(data)
    gain = made["value"] - made["top1"]["value"]
    yield SCORED, "multi_label_accuracy", {"minus error of the gain": -abs(gain - share), "gain": gain, "share": share}
    yield SCORED, ASKED, {"minus error of the gain": -0.01}


def _scene(
    shown: list[NDArray[np.uint8]], patch: bool, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Digits in quarters of their own, each somewhere in it, and a patch in another; and where the digits are."""
    image, mask = (np.zeros((2 * CELL, 2 * CELL), dtype=np.uint8) for _ in range(2))
    quarters = rng.permutation(4)
    for digit, quarter in zip(shown, quarters, strict=False):
        y, x = CELL * np.array(divmod(int(quarter), 2)) + rng.integers(0, CELL - 7, 2)
        image[y : y + 8, x : x + 8] = digit
        mask[y : y + 8, x : x + 8] = digit > 0
    if patch:
        y, x = CELL * np.array(divmod(int(quarters[len(shown)]), 2)) + rng.integers(0, CELL - PATCH + 1, 2)
        image[y : y + PATCH, x : x + PATCH] = 255
    return image, mask.astype(bool)


def _planted(
    pixels: NDArray[np.uint8], true: NDArray[np.int64], classes: Any, rng: np.random.Generator
) -> tuple[ImageSet, list[str], LabelSets]:
    """Test images, why each was planted ('' for the others), and their valid labels."""
    order = rng.permutation(len(true))
    cause = [name for name, count in PLANTED.items() for _ in range(count)]
    cause += [""] * (len(true) - len(cause))
    images, masks, labels, valid = [], [], [], []
    for i, why in zip(order, cause, strict=False):
        digit, label, sets = pixels[i], int(true[i]), [int(true[i])]
        if why == "patch" and label == PATCHED:
            i = int(rng.choice(np.flatnonzero(true != PATCHED)))
            digit, label, sets = pixels[i], int(true[i]), [int(true[i])]
        shown = [np.rot90(digit, int(rng.choice([1, 3])))] if why == "turned" else [digit]
        if why == "wrong label":
            label = int((label + rng.integers(1, 10)) % 10)
        if why == "two digits":
            other = int(rng.choice(np.flatnonzero(true != label)))
            shown, sets = [digit, pixels[other]], [label, int(true[other])]
        image, mask = _scene(shown, why == "patch", rng)
        images.append(image)
        masks.append(mask)
        labels.append(label)
        valid.append(sets)
    data = ImageSet.from_arrays(np.stack(images), labels, classes).with_column("mask", pack_masks(masks))
    return data, cause[: len(data)], LabelSets.of(valid)
