"""Evidence for `adversarial_filtration`: its slices are hard for models that did not choose them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import affine_transform

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import draw_seed, numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.discover.slices.adversarial_filtration import AdversarialFiltration, slice_scores
from kintsugi.metrics.aupr_ood import aupr_ood
from kintsugi.models.predict import predict
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits, only, trained
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

LABELLED, OUTSIDE = "digits, turned and noisy", "digits of three other classes"
OWN, CHANCE, ASKED = "adversarial_filtration", "a random slice of as many", "as the card asks"
UNSEEN = ("MLP", "SVM")
TIMES = 4  # changed copies of each candidate
INSIDE, OTHERS = (0, 1, 2, 3, 4, 5, 6), (7, 8, 9)


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "adversarial_filtration: points that models lose on the slice which did not choose it, the smaller loss of "
        "two, beside a random slice; and how the filter model's confidence fails on a slice from outside",
        (
            Claim(LABELLED, "drop", OWN, (CHANCE,), margin=0.3),
            Claim(LABELLED, "minus drop", CHANCE, (ASKED,)),
            Claim(LABELLED, "images", OWN, ("50",)),
            Claim(OUTSIDE, "minus area of the filter model", OWN, (CHANCE,), margin=0.1),
        ),
        _measure,
        "scikit-learn's handwritten digits, 8 px; the filter model is a small net trained on 1000 clean ones, the "
        "unseen ones are scikit-learn's multilayer perceptron and support vector machine trained on the same and as "
        f"many changed ones; candidates are the 797 others in {TIMES} copies, turned, scaled, shifted and noisy; the "
        "slice from outside holds digits 7 to 9, which a net of digits 0 to 6 never saw. The drop of "
        "a random slice is the mean over 20 of them",
        settings={"epochs": 12, "width": 16, "p_max": 0.15, "conf_min": 0.5},
    )


def _measure(seed: int, run: Run) -> Measured:
    rng = numpy_rng(seed, OWN)
    train, rest = digits(seed)
    clean, pool = _pixels(train), _changed(_pixels(rest), TIMES, rng)
    more = _changed(clean, 1, rng)
    label, known = np.tile(rest.labels, TIMES), np.tile(train.labels, 2)
    learned = _set(np.concatenate([clean, more]), known, train.classes)
    candidates = _set(pool, label, train.classes)
    found = AdversarialFiltration()(candidates, predict(trained(learned, seed), candidates), rng)
    place = {name: i for i, name in enumerate(candidates.ids)}
    chosen = np.array([place[row.ids[0]] for row in found.flagged], dtype=np.int64)
    losses: list[float] = []
    random_losses: list[float] = []
    shown: dict[str, float] = {}
    for name, prob in _unseen(learned, candidates, rng).items():
        right = prob.argmax(axis=1) == label
        losses.append(float(right.mean() - right[chosen].mean()))
        drawn = [right[rng.permutation(len(right))[: len(chosen)]].mean() for _ in range(20)]
        random_losses.append(float(right.mean() - np.mean(drawn)))
        made = slice_scores(prob[chosen], label[chosen], range(10))
        shown |= {f"accuracy of the {name}": float(right.mean()), f"on the slice, {name}": 1 - made["error"]["value"]}
    yield LABELLED, OWN, {"drop": min(losses), "images": float(len(chosen)), **shown}
    yield LABELLED, CHANCE, {"drop": max(random_losses), "minus drop": -max(map(abs, random_losses))}
    yield LABELLED, ASKED, {"minus drop": -0.03}
    yield LABELLED, "50", {"images": 50.0}
    yield from _outside(seed, train, rest, rng)


def _outside(seed: int, train: ImageSet, rest: ImageSet, rng: np.random.Generator) -> Measured:
    model = trained(only(train, INSIDE), seed)
    held, strange = only(rest, INSIDE), np.flatnonzero(np.isin(rest.labels, OTHERS))
    others = ImageSet.from_arrays(_pixels(rest.select(strange)), np.full(len(strange), -1), held.classes)
    said = predict(model, others)
    found = AdversarialFiltration("O", conf_min=0.9)(others, said, rng)
    place = {name: i for i, name in enumerate(others.ids)}
    chosen = [place[row.ids[0]] for row in found.flagged]
    inside = predict(model, held).prob
    for arm, rows in ((OWN, chosen), (CHANCE, rng.permutation(len(others))[: len(chosen)])):
        made = aupr_ood(inside, said.prob[rows], rng, draws=100)
        yield (
            OUTSIDE,
            arm,
            {
                "minus area of the filter model": -made["value"],
                "base rate": made["base_rate"],
                "images": float(len(rows)),
            },
        )


def _pixels(data: ImageSet) -> NDArray[np.uint8]:
    return np.concatenate([image for _, image in data.stream(512)])[..., 0]


def _set(image: NDArray[np.uint8], label: NDArray[np.int64], classes: Any) -> ImageSet:
    return ImageSet.from_arrays(image, label, classes)


def _changed(image: NDArray[np.uint8], times: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Copies turned by up to 25 degrees, scaled by up to a fifth, shifted by up to a pixel, with noise of 0.15."""
    made, centre = [], np.array([3.5, 3.5])
    for one in np.tile(image, (times, 1, 1)):
        angle, scale = np.deg2rad(rng.uniform(-25, 25)), rng.uniform(0.8, 1.2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        moved = affine_transform(one.astype(float), turn, centre - turn @ (centre + rng.uniform(-1, 1, 2)), order=1)
        made.append(moved + 255 * 0.15 * rng.standard_normal(one.shape))
    return np.clip(np.rint(np.stack(made)), 0, 255).astype(np.uint8)


def _unseen(learned: ImageSet, candidates: ImageSet, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    x, flat = (_pixels(data).reshape(len(data), -1) / 255 for data in (learned, candidates))
    y = learned.labels
    net = MLPClassifier((64,), max_iter=600, random_state=draw_seed(rng) % 2**32).fit(x, y)
    machine = SVC(C=5, gamma="scale").fit(x, y)
    prob = np.eye(10)[machine.predict(flat)]
    return dict(zip(UNSEEN, (net.predict_proba(flat), prob), strict=True))
