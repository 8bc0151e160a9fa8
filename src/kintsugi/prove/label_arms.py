"""What the grid of label noise measures in one cell: every detector's flags and scores, and what cleaning brings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.label_noise import noise_model
from kintsugi.data.imageset import ImageSet
from kintsugi.metrics.average_precision import average_precision
from kintsugi.prove.label_cells import PENALTY, encoded, images_of, known_of, size_of
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs

DETECTORS = ("label_errors", "confident_learning", "aum", "cincer", "simifeat", "beta_mixture")
NOTHING, RANDOM, TRUTH = "flag nothing", "flag at random", "flag the wrong ones"
CLEANLAB = {
    "cleanlab self_confidence": "self_confidence",
    "cleanlab normalized_margin": "normalized_margin",
    "cleanlab confidence_weighted_entropy": "confidence_weighted_entropy",
}
TEST = 500  # images with true labels that a head trained on the cleaned ones is tested on

Marks = tuple["NDArray[np.bool_]", "NDArray[np.float64]"]


def has_cleanlab() -> bool:
    """Whether the peer library is there to be measured beside."""
    return find_spec("cleanlab") is not None


def measure(dataset: str, noise: str, rate: float, seed: int, images: int) -> list[dict[str, Any]]:
    """One row a detector: F1 and average precision of the wrong labels, and the test score after dropping the flagged.

    Args:
        dataset: one of :data:`kintsugi.prove.label_cells.DATASETS`.
        noise: a noise model that needs no annotators.
        rate: of wrong labels.
        seed: of the draw of images, the noise and the folds.
        images: to draw from the training part.
    """
    rng = numpy_rng(seed, "grid", dataset)
    rows = rng.permutation(size_of(dataset, "train"))[:images]
    held = rng.permutation(size_of(dataset, "test"))[:TEST]
    data, test = images_of(dataset, "train", rows), images_of(dataset, "test", held)
    features, other = encoded(dataset, data, test)
    known = known_of(dataset, data, features, seed)
    rng = numpy_rng(seed, "grid", dataset, noise, str(rate))
    label = noise_model(noise, rate)(known, rng)
    given, wrong = data.relabel(label), label != data.labels
    outputs = cross_val_outputs(features, label, data.ids, len(data.classes), rng=rng, C=PENALTY[dataset])
    table = []
    for name, (flagged, score) in _marks(given, outputs, wrong, rng):
        hits = float((flagged & wrong).sum())
        table.append(
            {
                "detector": name,
                "F1": 2 * hits / max(1.0, float(flagged.sum() + wrong.sum())),
                "precision": hits / max(1.0, float(flagged.sum())),
                "recall": hits / max(1.0, float(wrong.sum())),
                "average precision": average_precision(score, wrong) if wrong.any() else float("nan"),
                "flagged": float(flagged.mean()),
                "wrong": float(wrong.mean()),
                "test F1 after dropping": _cleaned(dataset, features, label, ~flagged, other, test.labels),
            }
        )
    return table


def _marks(
    data: ImageSet, outputs: Outputs, wrong: NDArray[np.bool_], rng: np.random.Generator
) -> Iterator[tuple[str, Marks]]:
    """Flags and scores of everybody; samples a detector has no finding of are last, all alike."""
    from kintsugi.core.registry import find

    nobody = np.zeros(len(data))
    yield NOTHING, (nobody > 0, nobody)
    yield RANDOM, (rng.permutation(wrong), rng.random(len(data)))
    yield TRUTH, (wrong, wrong.astype(np.float64))
    for name in DETECTORS:
        findings = find(name, "auditor").load()()(data, outputs, rng)
        flagged = {row.ids[0] for row in findings.flagged}
        yield name, (np.array([one in flagged for one in data.ids]), findings.scores(data.ids))
    if has_cleanlab():
        yield from _cleanlab(data.labels, outputs.prob)


def _cleanlab(label: NDArray[np.int64], prob: NDArray[Any]) -> Iterator[tuple[str, Marks]]:
    """The peer library as it comes: its filter's flags, its three scores."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    prob = np.asarray(prob, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flagged = np.asarray(find_label_issues(label, prob, n_jobs=1), dtype=bool)
    for name, method in CLEANLAB.items():
        score = get_label_quality_scores(label, prob, method=method, adjust_pred_probs=False)
        yield name, (flagged, 1.0 - np.asarray(score, dtype=np.float64))


def _cleaned(
    dataset: str,
    features: NDArray[np.float32],
    label: NDArray[np.int64],
    kept: NDArray[np.bool_],
    other: NDArray[np.float32],
    truth: NDArray[np.int64],
) -> float:
    """Weighted F1 on true labels of a head trained on what was kept; 0 where fewer than two classes are left."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(label[kept])) < 2:
        return 0.0
    head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY[dataset], max_iter=1000))
    head.fit(features[kept], label[kept])
    return float(f1_score(truth, head.predict(other), average="weighted", zero_division=0))
