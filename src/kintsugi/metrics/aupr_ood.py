"""How well low confidence marks images of no class of the model's: area under precision and recall, with its base rate.

Hendrycks et al., "Natural Adversarial Examples", CVPR 2021, after Hendrycks and Gimpel, 2017: an image's score is
-max_k p_k, images from outside are the positives. The area is average precision; one that knows nothing has the share
of positives, which therefore stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData
from kintsugi.metrics.average_precision import average_precision_interval
from kintsugi.metrics.cells import checked, estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def aupr_ood(inside: ArrayLike, outside: ArrayLike, rng: np.random.Generator, *, draws: int = 1000) -> dict[str, Any]:
    """Area under precision and recall of confidence against images from outside.

    Args:
        inside: probabilities of images of the model's classes, float ``[N, K]``.
        outside: of images of none of them, float ``[M, K]``.
        rng: for the bootstrap behind the interval.
        draws: of that bootstrap.

    Raises:
        BadData: either is empty.
    """
    parts = [checked(np.asarray(p), np.full(len(np.asarray(p)), -1), None)[0] for p in (inside, outside)]
    if not all(len(p) for p in parts):
        raise BadData("There are no images from inside or none from outside:", "give probabilities of both.")
    score = -np.concatenate([p.max(axis=1) for p in parts])
    positive = np.repeat([False, True], [len(p) for p in parts])
    value, low, high = average_precision_interval(score, positive, rng, draws=draws)
    rule = "average precision of minus the top probability, images from outside being the positives"
    return estimate(value, (low, high), rule, count=len(score), base_rate=float(positive.mean()))
