"""Evidence for `against`: repeats, contradictions and foreign images of a new batch are told from what is just new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.duplicates.against import Against
from kintsugi.audit.duplicates.picture import changed
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.metrics.average_precision import average_precision
from kintsugi.ops.neighbours import nearest
from kintsugi.prove.given_nets import resnet20
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

CIFAR = "cifar10_10k_train_2k_test_with_cifar10n.npz"
FASHION = "fashion_mnist_full_60k_10k.npz"
ROW, HASH, PIXELS = "CIFAR-10, a batch of 250", "hash of the pixels", "distance of pixels"
OLD, FRESH, EXACT, ALTERED, FOREIGN = 1000, 150, 30, 40, 30
F1 = {"repeats": "F1 of repeats", "contradicts": "F1 of contradictions"}
OUTSIDE = "average precision of foreign images"


def trial(setting: str = "") -> Seeded:
    """A batch for CIFAR-10 with planted repeats, contradictions and images of clothes."""
    one_of("setting", setting, ("",))
    return Seeded(
        "against",
        "against: F1 of the repeats and of the contradictions flagged, and average precision of foreign images",
        (
            *(Claim(ROW, metric, "against", (HASH,), margin=0.1) for metric in F1.values()),
            Claim(ROW, OUTSIDE, "against", (PIXELS,)),
        ),
        _measure,
        f"{OLD} training images of CIFAR-10 as old data, drawn anew for each seed; a batch of {FRESH} test images "
        f"(without those that ciFAIR's authors found in the training data), {EXACT} old images as they are, {ALTERED} "
        "changed (exposure, noise, mirrored, shifted, cropped), every second one of both under another label, and "
        f"{FOREIGN} images of Fashion-MNIST. Distances are in the features of a ResNet-20 trained on CIFAR-10. "
        "Nothing was tuned",
        seeds=3,
        settings={"method": "its defaults, with the encoder"},
    )


def _measure(seed: int, run: Run) -> Measured:
    rng = numpy_rng(seed, "against")
    with np.load(given_file(CIFAR)) as held:
        rows = rng.permutation(len(held["x_train"]))[:OLD]
        image, label, names = (
            held["x_train"][rows],
            held["y_train"][rows].astype(np.int64),
            held["class_names"].tolist(),
        )
        clean = np.setdiff1d(np.arange(len(held["x_test"])), held["duplicate_pairs_test_train_judgment"][:, 0])
        chosen = rng.permutation(clean)[:FRESH]
        fresh, fresh_label = held["x_test"][chosen], held["y_test"][chosen].astype(np.int64)
    again = EXACT + ALTERED
    copies = np.concatenate([image[:EXACT], changed(image[EXACT:again], rng)[0]])
    given = np.where(np.arange(again) % 2 == 1, (label[:again] + rng.integers(1, 10, again)) % 10, label[:again])
    clothes = _clothes(rng)
    new = ImageSet.from_arrays(
        np.concatenate([fresh, copies, clothes]),
        np.concatenate([fresh_label, given, rng.integers(0, 10, FOREIGN)]),
        names,
    )
    old = ImageSet.from_arrays(image, label, names)
    place = np.arange(len(new)) - FRESH
    truth = {"repeats": (place >= 0) & (place < again) & (place % 2 == 0)}
    truth["contradicts"] = (place >= 0) & (place < again) & (place % 2 == 1)
    foreign = place >= again
    found = Against(old, encoder=resnet20())(new, None, rng)
    named = {check: [row.ids[0] for row in found.flagged if row.check == check] for check in F1}
    far = {row.ids[0]: row.score for row in found if row.check == "outside"}
    flagged = np.isin(new.ids, [row.ids[0] for row in found.flagged if row.check == "outside"])
    scores = {metric: _f1(np.isin(new.ids, named[check]), truth[check]) for check, metric in F1.items()}
    scores[OUTSIDE] = average_precision(np.array([far[name] for name in new.ids]), foreign)
    scores["foreign images flagged"] = float(flagged[foreign].mean())
    scores["fresh images flagged as outside"] = float(flagged[:FRESH].mean())
    yield ROW, "against", scores
    first = {pixels.tobytes(): number for number, pixels in reversed(list(enumerate(image)))}
    hit = [first.get(pixels.tobytes()) for pixels in np.concatenate([fresh, copies, clothes])]
    same = np.array([k is not None and label[k] == own for k, own in zip(hit, new.labels, strict=True)])
    differ = np.array([k is not None and label[k] != own for k, own in zip(hit, new.labels, strict=True)])
    yield ROW, HASH, {F1["repeats"]: _f1(same, truth["repeats"]), F1["contradicts"]: _f1(differ, truth["contradicts"])}
    flat, asked = (x.reshape(len(x), -1) for x in (image, np.concatenate([fresh, copies, clothes])))
    distance = nearest(flat, 5, asked, metric="l2")[0].mean(axis=1)
    yield ROW, PIXELS, {OUTSIDE: average_precision(distance, foreign)}


def _f1(flagged: Any, truth: Any) -> float:
    return 2 * float((flagged & truth).sum()) / max(1.0, float(flagged.sum() + truth.sum()))


def _clothes(rng: np.random.Generator) -> Any:
    from PIL import Image

    with np.load(given_file(FASHION)) as held:
        grey = held["x_test"][rng.permutation(len(held["x_test"]))[:FOREIGN]]
    return np.stack([np.asarray(Image.fromarray(one).resize((32, 32)).convert("RGB")) for one in grey])
