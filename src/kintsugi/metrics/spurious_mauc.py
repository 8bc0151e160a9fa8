"""Spurious mAUC: does the classifier tell a class from images that show only the class's spurious feature?

Neuhaus et al., "Spurious Features Everywhere", ICCV 2023. For class k the positives are images of k, the negatives are
images that show only the spurious feature of k, and the score is p_k. Despite the name the reference takes *average
precision* a class, not the area under the ROC curve, and then the mean over classes; so do we.

In ``update``, ``group`` is the class whose spurious feature an image shows (-1 for none): an image with group k and
another label, or no label, is a negative of k; every image with label k is a positive of k. Here a label of -1 means
"none of the classes", as it is for the feature-only images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.average_precision import average_precision, average_precision_draws
from kintsugi.metrics.cells import check_draws, checked, estimate
from kintsugi.ops.statistics import percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = Card(
    name="spurious_mauc",
    kind="metric",
    title="mean average precision of a class against images that show only its spurious feature",
    paper="Neuhaus, Augustin, Boreiko, Hein. Spurious Features Everywhere. ICCV 2023.",
    card=1,
    code="YanNeu/spurious_imagenet",
    status="proven",
)


@dataclass
class SpuriousMauc:
    """Mean over classes of the average precision against feature-only images.

    Args:
        draws: bootstrap draws behind the interval; positives and negatives of a class are resampled.
        seed: of those draws.
    """

    draws: int = 1000
    seed: int = 0
    _scores: dict[tuple[int, bool], list[NDArray[np.float64]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_draws(self.draws, self.seed)

    def update(self, prob: NDArray[Any], label: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]`` (-1: none of the classes), and the class whose
        spurious feature the image shows ``[B]`` (-1: none).
        """
        p, y, g = checked(prob, label, group)
        if g is None:
            raise BadArgument("group=None is not allowed here:", "give the class whose spurious feature each shows.")
        if len(g) and g.max() >= p.shape[1]:
            raise BadArgument(f"group reaches {g.max()}:", f"it names classes, from -1 to {p.shape[1] - 1}.")
        for k in np.unique(y[y >= 0]):
            self._scores.setdefault((int(k), True), []).append(p[y == k, k])
        for k in np.unique(g[(g >= 0) & (g != y)]):
            self._scores.setdefault((int(k), False), []).append(p[(g == k) & (y != k), k])

    def merge(self, other: SpuriousMauc) -> None:
        """Add what another accumulator saw."""
        for key, parts in other._scores.items():
            self._scores.setdefault(key, []).extend(parts)

    def compute(self) -> dict[str, Any]:
        """The mean under ``value``, every class's own under ``classes``, and under ``skipped`` the classes that have
        positives or negatives alone, which cannot count.

        Raises:
            BadData: no class has both.
        """
        labels = {k for k, _ in self._scores}
        both = sorted(k for k in labels if (k, True) in self._scores and (k, False) in self._scores)
        if not both:
            raise BadData(
                "No class has both images of it and images with only its spurious feature.",
                "Give group as the class whose feature an image shows.",
            )
        rng, drawn, classes = numpy_rng(self.seed, "spurious_mauc"), np.zeros(self.draws), []
        for k in both:
            positive, negative = (np.sort(np.concatenate(self._scores[k, side])) for side in (True, False))
            score, hit = np.concatenate([positive, negative]), np.arange(len(positive) + len(negative)) < len(positive)
            drawn += average_precision_draws(score, hit, self.draws, rng) / len(both)
            classes.append(
                {
                    "label": k,
                    "value": average_precision(score, hit),
                    "positives": len(positive),
                    "negatives": len(negative),
                }
            )
        return estimate(
            np.mean([each["value"] for each in classes]),
            percentile_interval(drawn),
            "mean over classes of the average precision of p_k, images of k against images with its feature only",
            count=sum(int(each["positives"] + each["negatives"]) for each in classes),
            classes=classes,
            skipped=sorted(labels - set(both)),
        )
