"""Evidence for `vdc`: poison that a loss cannot see is found by asking what the label would have one say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.audit.labels.questions import Templates
from kintsugi.audit.labels.vdc import VDC
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.models.predict import predict
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import accuracy, digits, trained, whole
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kintsugi.core.run import Run

NOISE, POISON, REPAIRED = "100 labels flipped", "45 images with a trigger", "trained on what is left"
LOSS, HELD = "loss of a net trained on them", "loss of held-out heads"
TRUSTED, FLIPPED, TRIGGERED, RATE = 300, 100, 45, 0.1
IDENTITY = "Is this the digit {}?"
ATTRIBUTES = {
    "Does it have a closed loop?": (0, 6, 8, 9),
    "Is it even?": (0, 2, 4, 6, 8),
    "Is it made of straight strokes?": (1, 4, 7),
    "Does it have a bar at the top?": (5, 7),
    "Is it round at the bottom?": (0, 3, 5, 6, 8),
    "Is it the same upside down?": (0, 1, 8),
}


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    found, success, kept = "TPR at FPR 0.10", "attack fails", "accuracy"
    return Seeded(
        "vdc",
        "vdc: dirty samples found at 10% false alarms, and what an attack still does after they are dropped",
        (
            Claim(NOISE, found, "vdc", ("0.85",)),
            Claim(POISON, found, "vdc", ("0.85",)),
            Claim(POISON, found, "vdc", (LOSS, HELD), margin=0.55),
            Claim(POISON, found, "0.3", (LOSS,)),
            Claim(NOISE, found, "vdc", (LOSS, HELD), shown_only=True),
            Claim(REPAIRED, success, "vdc", ("0.85",)),
            Claim(REPAIRED, kept, "vdc", ("nothing dropped, less 0.02",)),
        ),
        _measure,
        "scikit-learn's handwritten digits: 300 trusted ones train 16 yes-or-no heads (support vectors, untuned), 1000 "
        "others are made dirty (100 labels flipped; 45 images with a white 2 x 2 corner relabelled 0), 497 test",
        settings={
            "questions": "all attributes of the label, the label itself, 4 other labels",
            "threshold": "what drops a tenth of the trusted, by heads trained on their other half; the paper's 0.5 is "
            "shown beside it: it lets images pass whose class shares attributes with the label",
        },
    )


class Heads:
    """One head a question, trained on trusted images: the stand-in for a vision-language model."""

    name = "heads on trusted digits"

    def __init__(self, data: ImageSet) -> None:
        from sklearn.svm import SVC

        members = {IDENTITY.format(k): (k,) for k in range(10)} | ATTRIBUTES
        image = whole(data).image[:, 0].flatten(1).numpy()
        self.heads: dict[str, Any] = {
            text: SVC(C=10.0, gamma="scale").fit(image, np.isin(data.labels, digit)) for text, digit in members.items()
        }

    def answer(self, image: torch.Tensor, questions: Sequence[str]) -> list[str]:
        """Yes or no."""
        flat, asked = image[:, 0].flatten(1).numpy(), np.array(questions)
        said = np.empty(len(asked), dtype=object)
        for text in np.unique(asked):
            said[asked == text] = ["Yes." if yes else "No." for yes in self.heads[text].predict(flat[asked == text])]
        return said.tolist()


def _measure(seed: int, run: Run) -> Measured:
    given, test = digits(seed, train=1300)
    trusted, clean = given.select(np.arange(TRUSTED)), given.select(np.arange(TRUSTED, 1300))
    dirty, flipped, poisoned = _dirty(clean, numpy_rng(seed, "dirty"))
    table = {str(k): [text for text, digit in ATTRIBUTES.items() if k in digit] for k in range(10)}
    auditor = VDC(Heads(trusted), Templates(table, IDENTITY), batch_size=256)
    made = auditor.consistency(dirty)
    model = trained(dirty, seed)
    scores = {
        "vdc": np.nan_to_num(1 - made.score, nan=0.5),
        LOSS: _loss(predict(model, dirty, batch_size=512).prob, dirty.labels),
        HELD: _loss(_held_out(dirty, seed), dirty.labels),
    }
    bad = flipped | poisoned
    for arm, score in scores.items():
        for row, wanted in ((NOISE, flipped), (POISON, poisoned)):
            measured = {"TPR at FPR 0.10": _tpr(score, wanted, ~bad)}
            if arm == "vdc":
                measured |= {"TPR": float((score[wanted] > 0.5).mean()), "FPR": float((score[~bad] > 0.5).mean())}
            yield row, arm, measured
    yield NOISE, "0.85", {"TPR at FPR 0.10": 0.85}
    yield POISON, "0.85", {"TPR at FPR 0.10": 0.85}
    yield POISON, "0.3", {"TPR at FPR 0.10": 0.3}
    before = _attacked(model, test)
    for arm, threshold in (("vdc", _threshold(trusted, table)), ("vdc, threshold 0.5", 0.5)):
        auditor = VDC(Heads(trusted), Templates(table, IDENTITY), threshold=threshold, batch_size=256)
        found = {row.ids[0] for row in auditor(dirty, None, numpy_rng(seed, "audit")).flagged}
        kept = dirty.where(np.array([name not in found for name in dirty.ids]))
        yield REPAIRED, arm, {**_attacked(trained(kept, seed), test), "dropped": float(len(found))}
    yield REPAIRED, "nothing dropped", before
    yield REPAIRED, "nothing dropped, less 0.02", {"accuracy": before["accuracy"] - 0.02}
    yield REPAIRED, "0.85", {"attack fails": 0.85}


def _threshold(trusted: ImageSet, table: dict[str, list[str]]) -> float:
    """Consistency below which no more than a tenth of the trusted lie, by heads that were trained on the other half."""
    halves = np.arange(len(trusted)) % 2
    score = [
        VDC(Heads(trusted.where(halves != half)), Templates(table, IDENTITY), batch_size=256)
        .consistency(trusted.where(halves == half))
        .score
        for half in (0, 1)
    ]
    return float(np.sort(np.concatenate(score))[int(RATE * len(trusted))])


def _dirty(clean: ImageSet, rng: np.random.Generator) -> tuple[ImageSet, NDArray[np.bool_], NDArray[np.bool_]]:
    """The data with flipped labels and triggers, and which are which."""
    order = rng.permutation(len(clean))
    label = clean.labels.copy()
    flipped, poisoned = np.zeros(len(clean), dtype=bool), np.zeros(len(clean), dtype=bool)
    flipped[order[:FLIPPED]] = True
    label[flipped] = (label[flipped] + rng.integers(1, 10, size=FLIPPED)) % 10
    others = order[FLIPPED:]
    poisoned[others[clean.labels[others] != 0][:TRIGGERED]] = True
    label[poisoned] = 0
    pixels = np.concatenate([image for _, image in clean.stream(len(clean))]).copy()
    pixels[poisoned, -2:, -2:] = 255
    return ImageSet.from_arrays(pixels, label, clean.classes, id=clean.ids), flipped, poisoned


def _loss(prob: NDArray[Any], label: NDArray[np.int64]) -> NDArray[Any]:
    return -np.log(np.maximum(prob[np.arange(len(label)), label], 1e-12))


def _held_out(data: ImageSet, seed: int) -> NDArray[Any]:
    from kintsugi.training.crossval import cross_val_outputs

    flat = whole(data).image[:, 0].flatten(1).numpy()
    return cross_val_outputs(flat, data.labels, data.ids, len(data.classes), rng=numpy_rng(seed, "folds")).prob


def _tpr(score: NDArray[Any], wanted: NDArray[np.bool_], clean: NDArray[np.bool_]) -> float:
    """Share of the wanted above the lowest cut that at most a tenth of the clean are above; ties count as clean."""
    high = np.sort(score[clean])[::-1]
    return float((score[wanted] > high[int(RATE * len(high))]).mean())


def _attacked(model: Any, test: ImageSet) -> dict[str, float]:
    batch = whole(test)
    triggered = batch.image.clone()
    triggered[:, :, -2:, -2:] = 1.0
    with torch.no_grad():
        zero = model(triggered).argmax(1).numpy() == 0
    return {"accuracy": accuracy(model, batch), "attack fails": float(1 - zero[test.labels != 0].mean())}
