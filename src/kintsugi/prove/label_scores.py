"""Plain scores of labels that `label_errors` is measured against: those of cleanlab, written anew from their formulas.

Higher is worse. With p the held-out probabilities and y the label (cleanlab 2.9, `get_label_quality_scores`, in the
opposite order): self-confidence p_y; normalised margin p_y - max_{k != y} p_k; confidence-weighted entropy
H(p) / (log(K) p_y). Datalab, given features alone, takes the label's share among the 10 nearest others (Euclidean).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.labels.confident_learning import label_score
from kintsugi.ops.neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
