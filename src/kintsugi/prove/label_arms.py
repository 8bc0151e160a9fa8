"""What the grid of label noise measures in one cell: every detector's flags and scores, and what cleaning brings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData
from kintsugi.prove.label_cells import PENALTY, PEOPLE, Drawn, NoisyCell, drawn, people_gave, planted
from kintsugi.prove.label_scores import flag_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def measure(
    dataset: str, noise: str, rate: float, seed: int, images: int, cache: Path | None = None
) -> list[dict[str, Any]]:
    """One row a detector: F1 and average precision of the wrong labels, and the test score after dropping the flagged.

    Args:
        dataset: one of :data:`kintsugi.prove.label_cells.DATASETS`.
        noise: a noise model that needs no annotators, or one of CIFAR-10N's sets of labels.
        rate: of wrong labels; of people's labels it says nothing, they are as they are.
        seed: of the draw of images, the noise and the folds.
        images: to draw from the training part.
        cache: where features are kept.

    Raises:
        BadData: no label is wrong.
    """
    of = _drawn(dataset, seed, images, cache)
    cell = people_gave(of, noise) if noise in PEOPLE else planted(of, noise, rate)
    if not cell.wrong.any():
        raise BadData(f"No label is wrong in {cell.row}, seed {seed}:", "take more images or a higher rate.")
    table = []
    for name, (flagged, score) in _marks(cell):
        table.append(
            {
                "detector": name,
                **flag_scores(flagged, score, cell.wrong),
                "flagged": float(flagged.mean()),
                "wrong": float(cell.wrong.mean()),
                "test F1 after dropping": _cleaned(of, cell.data.labels, ~flagged),
            }
        )
    return table


@lru_cache(maxsize=1)
def _drawn(dataset: str, seed: int, images: int, cache: Path | None) -> Drawn:
    return drawn("grid", dataset, seed, images, test=TEST, cache=cache)


def chance(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    """Flagging nothing, and flagging as many as are wrong by lot."""
    nobody = np.zeros(len(cell.data))
    yield NOTHING, (nobody > 0, nobody)
    yield RANDOM, (cell.rng.permutation(cell.wrong), cell.rng.random(len(cell.data)))


def marks_of(detector: Any, cell: NoisyCell) -> Marks:
    """An auditor's flags and scores; samples it has no finding of are last, all alike."""
    findings = detector(cell.data, cell.outputs, cell.rng)
    return np.isin(cell.data.ids, [row.ids[0] for row in findings.flagged]), findings.scores(cell.data.ids)


def _marks(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    from kintsugi.core.registry import find

    yield from chance(cell)
    yield TRUTH, (cell.wrong, cell.wrong.astype(np.float64))
    for name in DETECTORS:
        yield name, marks_of(find(name, "auditor").load()(), cell)
    if has_cleanlab():
        yield from _cleanlab(cell.data.labels, cell.outputs.prob)


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


def _cleaned(of: Drawn, label: NDArray[np.int64], kept: NDArray[np.bool_]) -> float:
    """Weighted F1 on true labels of a head trained on what was kept; 0 where fewer than two classes are left."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(label[kept])) < 2:
        return 0.0
    head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY[of.dataset], max_iter=1000))
    head.fit(of.features[kept], label[kept])
    return float(f1_score(of.test.labels, head.predict(of.test_features), average="weighted", zero_division=0))
