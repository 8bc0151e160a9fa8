"""Evidence for `benchmark_stability`: with systematic wrong labels, correcting the test set changes the winner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import draw_seed, numpy_rng
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.studies.benchmark_stability import BenchmarkStability
from kintsugi.prove.studies.corrected import CorrectedTestSet
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

FASHION = "fashion_mnist_full_60k_10k.npz"
ROWS = ("digits", "Fashion-MNIST")
SYSTEMATIC = (1, 3, 5, 7)  # classes whose inkier half is called the next class
RIGHT = 0.9  # chance that a rater sees what is there
GIVEN, CORRECTED, EQUAL, CLEAN = "given labels", "corrected labels", "equally good", "nothing planted"
SIMPLE, FLEXIBLE, CHANGED = "lead of nearest centroid", "lead of RBF-SVM", "verdict: another model wins"


def trial(setting: str = "") -> Seeded:
    """Digits, as the card has it, and Fashion-MNIST."""
    one_of("setting", setting, ("",))
    claims = (
        Claim("digits", FLEXIBLE, GIVEN, (EQUAL,), 0.05),
        Claim("digits", SIMPLE, CORRECTED, (EQUAL,), 0.05),
        Claim("digits", CHANGED, CORRECTED, (CLEAN,), 0.9),
        Claim("Fashion-MNIST", SIMPLE, CORRECTED, (GIVEN,), 0.1),
        Claim("Fashion-MNIST", SIMPLE, CORRECTED, (EQUAL,), shown_only=True),
    )
    return Seeded(
        "benchmark_stability",
        "benchmark_stability: RBF-SVM against nearest centroid, on given and on corrected labels",
        claims,
        _measure,
        "scikit-learn's digits (1000 to train on, 797 to test on) and Fashion-MNIST (4000 and 2000, on 30 principal "
        "components), drawn anew for each seed; the inkier half of classes 1, 3, 5 and 7 is labelled as the next class "
        "in training and test; scikit-learn's defaults, nothing was tuned",
        seeds=5,
        settings={"raters": "five a candidate, each right with chance 0.9, else one of the other answers by lot"},
    )


def _measure(seed: int, run: Run) -> Measured:
    for row in ROWS:
        rng = numpy_rng(seed, row)
        train, test = _parts(row, seed, rng)
        for planted in (True, False):
            given = [_systematic(flat, label) if planted else label for flat, label in (train, test)]
            data = ImageSet.from_arrays(np.zeros((len(test[1]), 1, 1), np.uint8), given[1], [str(k) for k in range(10)])
            said = _models(train[0], given[0], test[0], data, rng)
            study = BenchmarkStability(_voted(data, test[1], rng))
            table, verdict = study.run(said, data, draw_seed(rng))
            if not planted:
                yield row, CLEAN, {CHANGED: float(verdict.word == "better")}
                continue
            first = [line for line in table.to_pylist() if line["prevalence"] == table["prevalence"][0].as_py()]
            svm, centroid = first
            for arm, key in ((GIVEN, "given"), (CORRECTED, "corrected")):
                lead = centroid[key] - svm[key]
                made = {SIMPLE: lead, FLEXIBLE: -lead, "RBF-SVM": svm[key], "nearest centroid": centroid[key]}
                yield row, arm, {**made, CHANGED: float(verdict.word == "better")}
            yield row, EQUAL, {SIMPLE: 0.0, FLEXIBLE: 0.0, "prevalence": first[0]["prevalence"]}


def _parts(row: str, seed: int, rng: np.random.Generator) -> Any:
    """Flat images and true labels to train on and to test on."""
    if row == "digits":
        return [
            (np.concatenate([image for _, image in part.stream(len(part))])[..., 0].reshape(len(part), -1), part.labels)
            for part in digits(seed)
        ]
    with np.load(given_file(FASHION)) as held:
        rows = rng.permutation(len(held["y_train"]))[:6000]
        flat, label = held["x_train"][rows].reshape(6000, -1), held["y_train"][rows].astype(np.int64)
    return [(flat[:4000], label[:4000]), (flat[4000:], label[4000:])]


def _systematic(flat: NDArray[Any], label: NDArray[np.int64]) -> NDArray[np.int64]:
    """The inkier half of some classes gets the next class: noise a flexible model learns."""
    ink, made = flat.sum(axis=1, dtype=np.float64), label.copy()
    for k in SYSTEMATIC:
        made[(label == k) & (ink > np.median(ink[label == k]))] = k + 1
    return made


def _models(
    train: NDArray[Any], label: NDArray[np.int64], test: NDArray[Any], data: ImageSet, rng: np.random.Generator
) -> list[Outputs]:
    from sklearn.decomposition import PCA
    from sklearn.svm import SVC

    before, after = train / 255.0, test / 255.0
    if before.shape[1] > 100:
        space = PCA(30, svd_solver="randomized", random_state=draw_seed(rng) % 2**32).fit(before)
        before, after = space.transform(before), space.transform(after)
    centre = np.stack([before[label == k].mean(axis=0) for k in range(10)])
    guesses = {
        "RBF-SVM": SVC().fit(before, label).predict(after),
        "nearest centroid": ((after[:, None] - centre) ** 2).sum(axis=2).argmin(axis=1),
    }
    return [Outputs(data.ids, np.eye(10)[guess], held_out=True, source=name) for name, guess in guesses.items()]


def _voted(data: ImageSet, true: NDArray[np.int64], rng: np.random.Generator) -> CorrectedTestSet:
    """Every wrong label and as many right ones are candidates; the guess of a right one is the next class."""
    wrong = np.flatnonzero(data.labels != true)
    right = rng.permutation(np.flatnonzero(data.labels == true))[: max(100, len(wrong))]
    candidates = {}
    for row in (*wrong, *right):
        seen = "guessed" if data.labels[row] != true[row] else "given"
        rest = [choice for choice in ("given", "guessed", "both", "neither") if choice != seen]
        votes = [seen if rng.random() < RIGHT else rest[rng.integers(3)] for _ in range(5)]
        guess = true[row] if seen == "guessed" else (true[row] + 1) % 10
        candidates[data.ids[row]] = (data.classes[int(guess)], votes)
    return CorrectedTestSet.of_votes(candidates)
