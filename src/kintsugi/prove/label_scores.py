"""What label checks are measured by and against: F1 and average precision; plain rules; and the scores of cleanlab.

The scores are written anew from their formulas.

Higher is worse. With p the held-out probabilities and y the label (cleanlab 2.9, `get_label_quality_scores`, in the
opposite order): self-confidence p_y; normalised margin p_y - max_{k != y} p_k; confidence-weighted entropy
H(p) / (log(K) p_y). Datalab, given features alone, takes the label's share among the 10 nearest others (Euclidean).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.labels.confident_learning import label_score
from kintsugi.metrics.average_precision import average_precision
from kintsugi.ops.neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

RULES = ("most probable class differs", "label below 0.5", "neighbours disagree")
PEER_SCORES = ("self-confidence", "normalised margin", "confidence-weighted entropy", "labels of neighbours")


def peer_scores(label: NDArray[np.int64], prob: NDArray[Any], features: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """The four scores, float ``[N]`` each."""
    from scipy.special import entr

    prob = np.asarray(prob, dtype=np.float64)
    own = prob[np.arange(len(label)), label]
    entropy = entr(np.maximum(prob, 0)).sum(axis=1) / np.log(prob.shape[1])
    near = nearest(features, 10, metric="l2")[1]
    made = (
        label_score(label, prob),
        label_score(label, prob, "normalised_margin"),
        entropy / np.maximum(own, 1e-6),
        (label[near] != label[:, None]).mean(axis=1),
    )
    return dict(zip(PEER_SCORES, made, strict=True))


def flag_scores(flagged: NDArray[np.bool_], score: NDArray[Any], wrong: NDArray[np.bool_]) -> dict[str, float]:
    """F1, precision and recall of flags for the wrong labels, of which there are some; average precision of a score."""
    hits = float((flagged & wrong).sum())
    return {
        "F1": 2 * hits / float(flagged.sum() + wrong.sum()),
        "precision": hits / max(1.0, float(flagged.sum())),
        "recall": hits / float(wrong.sum()),
        "average precision": average_precision(score, wrong),
    }


def plain_rules(
    label: NDArray[np.int64], prob: NDArray[Any], features: NDArray[Any], k: int
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]:
    """Flags and scores of the three :data:`RULES`; ``k`` neighbours vote."""
    each = np.arange(len(label))
    doubt, share = 1 - prob[each, label].astype(np.float64), votes(features, label, k)
    made = (
        (prob.argmax(axis=1) != label, doubt),
        (doubt > 0.5, doubt),
        (share.argmax(axis=1) != label, 1 - share[each, label]),
    )
    return dict(zip(RULES, made, strict=True))


def votes(space: NDArray[Any], label: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Share of each label among each sample's ``k`` nearest others, float ``[N, K]``."""
    near = nearest(np.asarray(space, dtype=np.float32), k)[1]
    return np.stack([(label[near] == c).mean(axis=1) for c in range(int(label.max()) + 1)], axis=1)
