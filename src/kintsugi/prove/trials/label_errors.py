"""Evidence for `label_errors`: it ranks wrong labels at least as well as cleanlab's scores, cell by cell, and above.

A cell is a data set with one kind of noise at one rate, or one of CIFAR-10N's five sets of labels that people gave. All
scores see the same held-out probabilities and the same features. A cell holds when the method is above the best of
four scores less 0.02 (the best chosen anew for every cell and seed, which favours them); over all cells its mean must
lie above the mean of these bests.

The blend was chosen on other images: scikit-learn's digits, the test parts of MNIST, Fashion-MNIST and CIFAR-10, and
the even rows of CIFAR-10's training part with people's labels (one or two seeds, 2000 images each). This takes the
training parts, of CIFAR-10 the odd rows. The heads' penalty was fixed before, on other draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.labels.label_errors import LabelErrors
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.label_noise import noise_model
from kintsugi.metrics.average_precision import average_precision
from kintsugi.prove.label_cells import PENALTY, PEOPLE, encoded, images_of, known_of, people_labels, size_of
from kintsugi.prove.label_scores import PEER_SCORES, peer_scores
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

METRIC = "average precision"
IMAGES = {"mnist": 2000, "fashion": 2000, "cifar10": 1000}
NOISES = ("uniform", "asymmetric", "class_dependent", "instance_dependent")
RATES = (0.1, 0.4)
NEAR, BEST, ALL = "best of cleanlab's, less 0.02", "best of cleanlab's", "mean of all cells"


def _rows() -> list[str]:
    planted = [f"{data}, {noise} {rate}" for data in IMAGES for noise in NOISES for rate in RATES]
    return planted + [f"cifar10, people: {name}" for name in PEOPLE]


def trial(setting: str = "") -> Seeded:
    """One setting: all cells."""
    from kintsugi.core.errors import one_of

    one_of("setting", setting, ("",))
    return Seeded(
        "label_errors",
        "label_errors: average precision of wrong labels, beside cleanlab's scores on the same outputs and features",
        (
            Claim(ALL, METRIC, "label_errors", (BEST,)),
            *(Claim(row, METRIC, "label_errors", (NEAR,)) for row in _rows()),
            *(Claim(row, METRIC, "label_errors", PEER_SCORES, shown_only=True) for row in _rows()),
        ),
        _measure,
        "MNIST and Fashion-MNIST (2000 training images each, 50 principal components) and CIFAR-10 (1000 of the odd "
        "training rows, features of a SqueezeNet trained on ImageNet), drawn anew for each seed; 5-fold logistic heads "
        "trained on the noisy labels",
        seeds=3,
        settings={"C of the heads": PENALTY, "neighbours of the fourth score": 10},
    )


def _measure(seed: int, run: Run) -> Measured:
    means: dict[str, list[float]] = {"label_errors": [], BEST: []}
    for dataset, count in IMAGES.items():
        rng = numpy_rng(seed, "label_errors", dataset)
        pool = np.arange(1, size_of(dataset, "train"), 2 if dataset == "cifar10" else 1)
        rows = rng.permutation(pool)[:count]
        data = images_of(dataset, "train", rows)
        features = encoded(dataset, data)[0]
        known = known_of(dataset, data, features, seed)
        given = {
            f"{dataset}, {noise} {rate}": noise_model(noise, rate)(known, numpy_rng(seed, dataset, noise, str(rate)))
            for noise in NOISES
            for rate in RATES
        }
        if dataset == "cifar10":
            given |= {f"cifar10, people: {name}": label for name, label in people_labels(rows).items()}
        for row, label in given.items():
            scores = _scores(dataset, label, features, len(data.classes), seed, row)
            found = {arm: average_precision(score, label != data.labels) for arm, score in scores.items()}
            best = max(found[arm] for arm in PEER_SCORES)
            means["label_errors"].append(found["label_errors"])
            means[BEST].append(best)
            for arm, value in (*found.items(), (NEAR, best - 0.02)):
                yield row, arm, {METRIC: value}
    for arm, values in means.items():
        yield ALL, arm, {METRIC: float(np.mean(values))}


def _scores(
    dataset: str, label: NDArray[np.int64], features: NDArray[np.float32], classes: int, seed: int, row: str
) -> dict[str, NDArray[np.float64]]:
    ids = [str(number) for number in range(len(label))]
    rng = numpy_rng(seed, row, "heads")
    prob = cross_val_outputs(features, label, ids, classes, rng=rng, C=PENALTY[dataset]).prob
    joined = LabelErrors().posterior(label, prob, features, rng)
    own = 1 - joined[np.arange(len(label)), label].astype(np.float64)
    return {"label_errors": own, **peer_scores(label, prob, features)}
