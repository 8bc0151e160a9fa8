"""Evidence for `confident_learning`: wrong labels are counted well and flagged better than without class thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.labels.confident_learning import ConfidentLearning
from kintsugi.audit.labels.joint import scan
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import draw_seed, numpy_rng
from kintsugi.data.compose.plant import wrong_labels
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.label_cells import CIFAR, encoded
from kintsugi.prove.label_scores import RULES, flag_scores, plain_rules
from kintsugi.prove.noise_rates import rates
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Claim
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

UNIFORM, NEXT = ("uniform 0.1", "uniform 0.2"), "next class 0.2"
HUMAN = {"human, aggregate": "cifar10n_aggre_label", "human, worst": "cifar10n_worse_label"}
RATE = "minus error of the rate"
METHODS: tuple[Literal["pbc", "pbnr"], ...] = ("pbc", "pbnr")
PLANTED_DATA = (
    "scikit-learn's handwritten digits, all 1797, with planted noise; 5-fold 15-nearest-neighbour probabilities on 30 "
    "principal components; everything as the card has it, nothing was tuned"
)
HUMAN_DATA = (
    "CIFAR-10 with the labels of CIFAR-10N, 2000 images drawn anew for each seed; 5-fold logistic heads on features of "
    "a SqueezeNet that was trained on ImageNet and has seen none of these images; its input size and the heads' "
    "penalty were chosen by accuracy on another draw"
)


def trial(setting: str = "") -> Seeded:
    """Planted noise on the embedded digits, ``cifar10n`` (the labels people gave to CIFAR-10), or ``rates``."""
    one_of("setting", setting, ("", "cifar10n", "rates"))
    if setting == "rates":
        return rates()
    human = setting == "cifar10n"
    rows = [(row, "pbnr") for row in HUMAN] if human else [*((row, "pbc") for row in UNIFORM), (NEXT, "pbnr")]
    claims = [Claim(row, "F1", method, RULES[:2]) for row, method in rows]
    # Neighbours are another predictor, not another rule: how far it reaches is shown and decides nothing.
    claims += [Claim(row, "F1", method, RULES[2:], shown_only=True) for row, method in rows]
    claims += [Claim(row, "average precision", "pbnr", RULES, shown_only=True) for row, _ in rows]
    claims += [Claim(row, RATE, "pbnr", (RULES[0],)) for row, _ in rows]
    claims += [Claim(row, RATE, "pbnr", ("off by 0.02",)) for row in UNIFORM if not human]
    return Seeded(
        "confident_learning",
        "confident_learning: F1 of the labels flagged, and the estimated share of wrong ones, beside plain rules "
        "on the same held-out probabilities",
        tuple(claims),
        _measure_human if human else _measure_planted,
        HUMAN_DATA if human else PLANTED_DATA,
        seeds=5 if human else 10,
        settings={
            "flags": "PBC for uniform noise, as the card has it; PBNR, the default, otherwise",
            "average precision": "flagged ones first, then by how improbable the label is (by votes, for neighbours)",
        },
    )


def _measure_planted(seed: int, run: Run) -> Measured:
    clean = ImageSet.concat(list(digits(seed)))
    flat = np.concatenate([image for _, image in clean.stream(len(clean))])[..., 0].reshape(len(clean), -1) / 255.0
    for row, share in (*zip(UNIFORM, (0.1, 0.2), strict=True), (NEXT, 0.2)):
        rng = numpy_rng(seed, row)
        data, wrong = wrong_labels(clean, share, rng)
        if row == NEXT:
            data = clean.relabel(np.where(wrong, (clean.labels + 1) % 10, clean.labels))
        yield from _arms(row, data, wrong, _neighbour_outputs(data, flat, rng), flat, rng)


def _measure_human(seed: int, run: Run) -> Measured:
    with np.load(given_file(CIFAR)) as held:
        rows = numpy_rng(seed, "cifar10n").permutation(len(held["y_train"]))[:2000]
        image, true = held["x_train"][rows], held["y_train"][rows]
        given = {row: held[key][rows].astype(np.int64) for row, key in HUMAN.items()}
        names = held["class_names"].tolist()
    images = ImageSet.from_arrays(image, true, names)
    features = encoded("cifar10", images)[0]
    for row, label in given.items():
        rng, data = numpy_rng(seed, row), images.relabel(label)
        outputs = cross_val_outputs(features, label, data.ids, len(names), rng=rng, C=0.003)
        yield from _arms(row, data, label != true, outputs, features, rng)


def _arms(
    row: str, data: ImageSet, wrong: NDArray[np.bool_], outputs: Outputs, space: NDArray[Any], rng: np.random.Generator
) -> Measured:
    rate, doubt = float(wrong.mean()), 1 - outputs.prob[np.arange(len(data)), data.labels]
    for method in METHODS:
        findings = ConfidentLearning(method)(data, outputs, rng)
        flagged = np.isin(data.ids, [finding.ids[0] for finding in findings.flagged])
        counted = scan(data.labels, outputs.prob).joint(data.labels).wrong_share()
        yield row, method, {**flag_scores(flagged, flagged + doubt, wrong), **_counted(counted, rate)}
    for rule, (flagged, score) in plain_rules(data.labels, outputs.prob, space, 15).items():
        yield row, rule, {**flag_scores(flagged, flagged + score, wrong), **_counted(float(flagged.mean()), rate)}
    yield row, "off by 0.02", {RATE: -0.02}


def _counted(estimate: float, rate: float) -> dict[str, float]:
    return {"estimated rate": estimate, RATE: -abs(estimate - rate)}


def _neighbour_outputs(data: ImageSet, flat: NDArray[np.float64], rng: np.random.Generator) -> Outputs:
    from sklearn.decomposition import PCA
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    folds = StratifiedKFold(5, shuffle=True, random_state=draw_seed(rng) % 2**32)
    model = make_pipeline(PCA(30, svd_solver="full"), KNeighborsClassifier(15))
    prob = cross_val_predict(model, flat, data.labels, cv=folds, method="predict_proba")
    return Outputs(data.ids, prob, held_out=True, source="5-fold 15-nearest neighbours")
