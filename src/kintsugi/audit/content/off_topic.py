"""Images that do not belong: far from the bulk of the data set, alone or as a small cluster of their own.

Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits", NeurIPS 2024 (arXiv 2305.17048). In the
single-linkage dendrogram of D = (1 - cos) / 2, drawn in a unit square (leaves side by side, height D, the root's own
branch from height 1), one walks from the root, always into the child with fewer leaves first. The order in which leaves
are reached is the ranking; the leaf area distance (LAD) of a leaf is the running sum, over the branches passed until
then, of a branch's width (its share of the leaves) times its length (its parent's height less its own). Small is
suspicious. (The published code gives right branches another width, which changes sums and no order.) Their alternative
is the 1% quantile of an image's distances to all others, large is suspicious: a cluster of that size hides itself.

``blend``, the default where there is one vector an image, is ours, since each alone fails somewhere: LAD where many
that belong are as lonely as those that do not, quantiles where the bulk is of several kinds. It adds -log(1 - r) for
the rank r (0 to 1) that LAD gives and twice that for the ``quantile``'s (Fisher's way to join tests), after each
feature was replaced by the square root of its size, sign kept (power normalisation; Perronnin, Sanchez, Mensink, ECCV
2010), so that the few large features of a trained net do not rule the cosine. Weights, root and quantile were fixed on
digits, Fashion-MNIST, CIFAR-10 and Tiny-ImageNet with images of other kinds mixed in.

``looks``, the default where vectors are of :class:`~kintsugi.models.layered.LayeredEncoder`, is ours as well. Images of
another source differ less in what the last layer of a net says than in their sharpness, their colours and what its
middle layers see. For each of these three looks d is the squared robust Mahalanobis distance from the bulk
(:mod:`kintsugi.ops.robust_distance`), and z = max(0, (log d - median) / (84% quantile - median)) of the logs. The score
is 3 z(sharpness) + 2 z(colour) + 4 z(middle layers) - log(1 - r), r the rank that ``blend`` gives the encoder's own
vector. Looks, weights and quantile were fixed with MobileNetV2 on Tiny-ImageNet, CIFAR-10, Fashion-MNIST, MNIST and web
pictures, each with other kinds mixed in at 1, 5 and 10%. Of many variants, those that kept the spectra lay within some
0.02 of the mean average precision chosen, 0.91.

Memory is linear: the tree is Boruvka's on nearest neighbours (:mod:`kintsugi.ops.single_linkage`). Up to ``exact``
images all is exact; beyond it quantiles are of the distances to a sample, and very large sets have neighbours from an
index; the agreement with exact values, measured on a part, is said.

The count is ours: two normal distributions are laid on the log-odds of the ``quantile``'s distances. If they stand
apart (by :data:`APART` of their root mean square deviations) and explain the data better than one (by :data:`GAIN` of
the Bayesian information criterion a sample), the smaller, farther one is what does not belong, and as many are flagged
as it holds, first in the ranking. Otherwise nobody can tell how many, and ``auto`` flags none.

Limits. Features must put what belongs together. The last layer of a classifier sets images of many classes, most of all
those it was trained on, far apart, and what it does not know in their midst: among 500 ImageNet photographs of 500
classes seen by MobileNetV2, digits, garments and circuit boards do not come first by LAD, quantiles or blend. By looks
they mostly do, AI-generated pictures hardly, and natural photographs from elsewhere not, since little but their subject
could tell. Where only the subject is foreign, ``blend`` is the method to ask. Looks do not count: how
many do not belong is told from the encoder's vectors alone, since on clean sets a tenth to a third of all images seem
to form a group of their own by looks; and where the group that the vectors show is not what the looks put first, none
is flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from kintsugi.audit.vectors import usable, vectors
from kintsugi.core.card import Card
from kintsugi.core.errors import one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.ops.logistic_cut import logistic_cut
from kintsugi.ops.neighbours import LARGE, nearest, unit
from kintsugi.ops.quantiles import row_quantile
from kintsugi.ops.robust_distance import robust_distance
from kintsugi.ops.single_linkage import Dendrogram, single_linkage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="off_topic",
    kind="auditor",
    title="Images that do not belong to the data set, alone or in small clusters",
    paper="Groeger et al., Intrinsic Self-Supervision for Data Quality Audits, NeurIPS 2024, arXiv:2305.17048",
    card=111,
    code="https://github.com/Digital-Dermatology/SelfClean",
    needs=("features",),
    status="proven",
    settings=(("photos", "not proven"),),
)

METHODS = ("auto", "looks", "blend", "lad", "quantile", "neighbours")
LOOKS = {"sharpness": 3.0, "colour": 2.0, "middle layers": 4.0, "the encoder": 1.0}  # with weights
THRESHOLDS = ("auto", "logistic")
UPPER = 0.84  # quantile that lies one standard deviation above the median of normal values
CELLS = 16_000_000  # distances held at a time
SAMPLED = 2000  # images that stand for all in quantiles beyond `exact`
CHECKED = 200  # images whose approximate values are compared with exact ones
FEWEST = 100  # images from which two distributions can be told apart
MEMBERS = 3  # fewer are no group
APART, GAIN = 2.0, 0.12  # clean digits, garments, CIFAR-10 and Tiny-ImageNet gain 0.04 at most
DRAWS = 100


class OffTopic:
    """Ranks images by how little they belong.

    Args:
        encoder: whose vectors are compared; None takes ``outputs.features``.
        parts: how many columns of the vectors each look has (sharpness, colour, middle layers, encoder); None
            takes what the encoder says, as :class:`~kintsugi.models.layered.LayeredEncoder` does, or else there is
            one look, the encoder's. Methods other than ``looks`` go by the last.
        method: ``looks``, ``blend``, ``lad``, ``quantile``, ``neighbours`` (mean distance to the ``k`` nearest), or
            ``auto``: ``looks`` where there are several, else ``blend``.
        quantile: of an image's distances to all others, above 0, below 1; 0.01 with ``method="quantile"`` is the
            paper's.
        k: neighbours, of ``neighbours`` and of the tree.
        root: exponent of the power normalisation, above 0 (1 leaves features as they are); None takes 0.5 for
            ``blend`` and 1 for the paper's own.
        threshold: ``auto``, ``logistic`` (the paper's cut, on LAD alone), or a score from 0 to 1.
        alpha: with ``logistic``, upper bound of the share that does not belong.
        exact: images up to which all distances are looked at.

    A finding is an image, its score 1 - LAD for ``lad``, D for ``quantile`` and ``neighbours``, the share of images
    that rank behind it for ``blend`` and ``looks``. Listed are the flagged and the first twentieth.
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        *,
        parts: Sequence[int] | None = None,
        method: Literal["auto", "looks", "blend", "lad", "quantile", "neighbours"] = "auto",
        quantile: float = 0.1,
        k: int = 10,
        root: float | None = None,
        threshold: float | Literal["auto", "logistic"] = "auto",
        alpha: float = 0.1,
        exact: int = 10_000,
    ) -> None:
        one_of("method", method, METHODS)
        fine = parts is None or (len(parts) in (1, len(LOOKS)) and min(parts) >= 0 and parts[-1] >= 1)
        require(fine, "parts", parts, "columns of each of one or four looks, the last at least 1")
        require(0 < quantile < 1, "quantile", quantile, "a share between 0 and 1")
        require(k >= 1, "k", k, "at least 1 neighbour")
        require(root is None or 0 < root <= 1, "root", root, "an exponent above 0, to 1, or None")
        if isinstance(threshold, str):
            one_of("threshold", threshold, THRESHOLDS)
        else:
            require(0 <= threshold <= 1, "threshold", threshold, "auto, logistic, or a score from 0 to 1")
        require(threshold != "logistic" or method == "lad", "threshold", threshold, "logistic with method='lad'")
        require(0 < alpha < 0.5, "alpha", alpha, "a share above 0, below 0.5")
        require(exact >= 1, "exact", exact, "at least 1 image")
        self.encoder, self.method, self.quantile, self.k, self.root = encoder, method, quantile, k, root
        self.parts = None if parts is None else tuple(int(width) for width in parts)
        self.threshold, self.alpha, self.exact = threshold, alpha, exact

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Rank the images; those without finite features are left out. Labels are not looked at.

        Raises:
            BadArgument: there is neither an encoder nor ``outputs`` with features, or ``parts`` are not of them.
        """
        features, rows = self._seen(data, outputs)
        names = ("parts", "method", "quantile", "k", "root", "threshold", "alpha", "exact")
        params = {name: getattr(self, name) for name in names}
        notes = [] if len(rows) == len(data) else [f"{len(data) - len(rows)} images without features were left out."]
        if len(rows) < 3 or np.ptp(features[rows], axis=0).max() == 0:
            few = "there are fewer than three images" if len(rows) < 3 else "all have the same features"
            notes.append(f"Cannot tell what does not belong: {few}.")
            return Findings.of([], CARD.name, params, Summary(None, None, None, tuple(notes)))
        score, far, places, more = self._scores(features[rows], self._parts(features), rng)
        flagged, threshold, count, interval, note = self._flags(score, far, rng, agreeing=bool(places))
        listed = flagged | (np.argsort(np.argsort(-score, kind="stable")) < max(1, len(rows) // 20))
        found = []
        for i in np.flatnonzero(listed):
            name, place = data.ids[int(rows[i])], {look: int(row[i]) for look, row in places.items()}
            why = self._why(name, float(far[i]), place, len(rows))
            found.append(_finding(name, float(score[i]), bool(flagged[i]), {"distance": float(far[i]), **place}, why))
        summary = Summary(threshold, count, interval, (*notes, *more, note))
        return Findings.of(found, CARD.name, params, summary)

    def ranked(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> NDArray[np.float64]:
        """Score of every image, high where it does not belong, float64 ``[N]``; NaN without features."""
        features, rows = self._seen(data, outputs)
        found = np.full(len(data), np.nan)
        if len(rows) >= 3:
            found[rows] = self._scores(features[rows], self._parts(features), rng)[0]
        return found

    def _seen(self, data: ImageSet, outputs: Outputs | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Vectors of all images, and which of them can be used."""
        features = vectors(CARD.name, data, outputs, self.encoder)
        return features, np.flatnonzero(usable(features))

    def _parts(self, features: NDArray[np.float32]) -> tuple[int, ...]:
        """Columns of each look."""
        total = features.shape[1]
        parts = self.parts or getattr(self.encoder, "widths", None) or (total,)
        require(sum(parts) == total, "parts", parts, f"columns of each look, {total} in all")
        require(self.method != "looks" or len(parts) > 1, "parts", parts, "columns of four looks with method='looks'")
        return tuple(parts)

    def _scores(
        self, features: NDArray[np.float32], parts: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, NDArray[np.int64]], list[str]]:
        """The ranking's scores (high is suspicious), quantile distances, places by look, and what was approximate."""
        method = self.method if self.method != "auto" else "looks" if len(parts) > 1 else "blend"
        own = features[:, -parts[-1] :]
        root = self.root if self.root is not None else 0.5 if method in ("looks", "blend") else 1.0
        points = unit(own if root == 1 else np.sign(own) * np.abs(own) ** root)
        notes = []
        if len(points) <= self.exact:
            far = far_quantile(points, points, self.quantile)
        else:
            sample = points[np.sort(rng.permutation(len(points))[: min(SAMPLED, len(points))])]
            far = far_quantile(points, sample, self.quantile)
            notes.append(self._agreement(points, far, rng))
        if method == "quantile":
            return far, far, {}, notes
        if method == "neighbours":
            return nearest(points, self.k)[0].mean(axis=1, dtype=np.float64) / 2, far, {}, notes
        area = leaf_area_distance(single_linkage(points, k=self.k))
        if method == "lad":
            return np.clip(1 - area, 0, 1), far, {}, notes
        blend = 2 * _surprise(far) + _surprise(-area)
        if method == "blend":
            return _ranks(blend), far, {}, notes
        total, places = LOOKS["the encoder"] * _surprise(blend), {}
        for look, start, width in zip(LOOKS, np.cumsum((0, *parts)), parts[:-1], strict=False):
            if width:  # an encoder that is no net has no middle layers
                away = robust_distance(features[:, start : start + width], rng)
                total, places[look] = total + LOOKS[look] * _beyond(away), _places(away)
        return _ranks(total), far, {**places, "the encoder": _places(blend)}, notes

    def _why(self, name: str, far: float, places: dict[str, int], count: int) -> str:
        if not places:
            return f"{name} is far from the others: {1 - self.quantile:.0%} of them lie at D {far:.3f} or more"
        said = ", ".join(f"number {place} by {look}" for look, place in places.items())
        return f"{name} is unlike the others: with the oddest of {count} images first it is {said}"

    def _agreement(self, points: NDArray[np.float32], far: NDArray[np.float64], rng: np.random.Generator) -> str:
        from scipy.stats import spearmanr

        part = np.sort(rng.permutation(len(points))[:CHECKED])
        whole = far_quantile(points[part], points, self.quantile)
        alike = float(spearmanr(whole, far[part]).statistic)
        over = f"Quantiles are over {min(SAMPLED, len(points))} of {len(points)} images"
        tree = "those of an index" if len(points) >= LARGE else "exact"
        return f"{over} (rank correlation with the exact: {alike:.3f}); the tree's neighbours are {tree}."

    def _flags(
        self, score: NDArray[np.float64], far: NDArray[np.float64], rng: np.random.Generator, *, agreeing: bool = False
    ) -> tuple[NDArray[np.bool_], float | None, float | None, tuple[float, float] | None, str]:
        """Which are flagged, from which score, how many do not belong with the interval, and how that was found."""
        if self.threshold == "logistic":
            cut, flagged = logistic_cut(1 - score, alpha=self.alpha)
            note = f"Flagged by the logistic cut (alpha {self.alpha:g}), which does not say how many do not belong."
            return flagged, 1 - cut, None, None, note
        if not isinstance(self.threshold, str):
            note = "Cannot tell how many do not belong from a fixed threshold."
            return score >= self.threshold, self.threshold, None, None, note
        count, interval, note = counted(far, rng)
        if count is None:
            return np.zeros(len(score), dtype=bool), None, None, None, note
        first = len(score) - max(1, round(count))
        limit = float(np.sort(score)[first])
        if agreeing and np.mean(far[score >= limit] >= np.sort(far)[first]) < 0.5:
            note = (
                "Cannot tell how many do not belong, so none is flagged: the encoder's vectors show a group, but most"
            )
            note += " of it is not what sharpness, colour and layers put first. The ranking stands."
            return np.zeros(len(score), dtype=bool), None, None, None, note
        return score >= limit, limit, count, interval, note


def far_quantile(asked: NDArray[np.float32], base: NDArray[np.float32], quantile: float) -> NDArray[np.float64]:
    """That quantile of D from each unit vector ``[Q, D]`` to all of ``base``, float64 ``[Q]``, block by block."""
    found = np.empty(len(asked))
    high = max(1, CELLS // len(base))
    with task("distances to all", len(asked)) as tracker:
        for top in range(0, len(asked), high):
            product = asked[top : top + high] @ base.T
            found[top : top + high] = (1 - row_quantile(product, 1 - quantile)) / 2
            tracker.advance(len(product))
    return np.clip(found, 0.0, 1.0)


def leaf_area_distance(tree: Dendrogram) -> NDArray[np.float64]:
    """LAD of every leaf, float64 ``[N]`` in 0..1, small is suspicious; heights are distances 1 - cos.

    Of two children with equally many leaves the one made first comes first.
    """
    total = len(tree.height) + 1
    height = np.concatenate([np.zeros(total), tree.height / 2]).tolist()
    share, count, children = (tree.count / total).tolist(), tree.count.tolist(), tree.children.tolist()
    found, passed = np.empty(total), 0.0
    waiting = [(2 * total - 2, 1.0)]
    while waiting:
        node, above = waiting.pop()
        passed += share[node] * (above - height[node])
        if node < total:
            found[node] = passed
            continue
        small, large = children[node - total]
        if count[large] < count[small]:
            small, large = large, small
        waiting += [(large, height[node]), (small, height[node])]
    return np.clip(found, 0.0, 1.0)


def counted(far: NDArray[np.float64], rng: np.random.Generator) -> tuple[float | None, tuple[float, float] | None, str]:
    """How many lie in a distribution of their own, farther out, with a 95% bootstrap interval; or None and why."""
    odds = np.log(np.clip(far, 1e-9, None) / np.clip(1 - far, 1e-9, None))
    if len(odds) < FEWEST or np.ptp(odds) < 1e-6:
        return None, None, "Cannot tell how many do not belong: too few images, or all are equally far."
    share, apart, gain = _two(odds)
    if apart < APART or gain < GAIN or share > 0.4 or share * len(odds) < MEMBERS:
        where = "the farthest form no group of their own"
        return None, None, f"Cannot tell how many do not belong, so none is flagged: {where}. The ranking stands."
    drawn = [_two(odds[rng.integers(len(odds), size=len(odds))])[0] for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975]) * len(odds)
    count = share * len(odds)
    note = f"{share:.1%} of the images lie in a group of their own, farther from all; as many are flagged."
    return count, (min(count, float(low)), max(count, float(high))), note


def _two(odds: NDArray[np.float64]) -> tuple[float, float, float]:
    """Two normal distributions by expectation maximisation: the upper one's share, how far they stand apart, and what
    the second adds (Bayesian information criterion a sample).
    """
    value = np.sort(odds)
    n = len(value)
    mean = np.array([np.median(value), np.quantile(value, 0.99)])
    spread, share = np.full(2, value.std()), np.array([0.5, 0.5])
    floor, likely = max(1e-3 * float(value.std()), 1e-9), -np.inf
    weight = np.zeros((2, n))
    for _ in range(300):
        first, second = (
            -0.5 * ((value - mean[k]) / spread[k]) ** 2 + float(np.log(share[k] / spread[k])) for k in (0, 1)
        )
        beyond = np.exp(-np.abs(second - first))  # as logaddexp has it, which takes several times as long
        before, likely = likely, float((np.maximum(first, second) + np.log1p(beyond)).sum())
        weight[1] = np.where(second > first, 1, beyond) / (1 + beyond)
        weight[0] = 1 - weight[1]
        if likely - before < 1e-6 * n:
            break
        size = np.maximum(weight.sum(axis=1), 1e-9)
        mean, share = weight @ value / size, size / n
        for k in (0, 1):
            spread[k] = max(float(np.sqrt(weight[k] @ (value - mean[k]) ** 2 / size[k])), floor)
    one = n * (-np.log(value.std()) - 0.5)
    upper = int(mean.argmax())
    gain = (2 * (likely - one) - 3 * np.log(n)) / n
    likelier = (weight[upper] > 0.5) & (value > mean[1 - upper])
    return float(likelier.mean()), float(abs(mean[1] - mean[0]) / np.sqrt((spread**2).mean())), float(gain)


def _ranks(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of values below each, ties in the middle, float64 ``[N]`` within 0..1."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(value) - 0.5) / len(value), dtype=np.float64)


def _surprise(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.log(1 - _ranks(value)))


def _beyond(away: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the log of a distance lies above the median, in the spread of the upper half; 0 below the median."""
    value = np.log(away + 1e-12)
    middle, upper = np.quantile(value, [0.5, UPPER])
    return np.asarray(np.maximum((value - middle) / max(upper - middle, 1e-9), 0))


def _places(value: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each when the largest come first, from 1; of equal ones the first."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-value, method="min"), dtype=np.int64)


def _finding(name: str, score: float, flagged: bool, evidence: dict[str, float], why: str) -> Finding:
    return Finding(
        subject="sample",
        ids=(name,),
        score=score,
        flagged=flagged,
        check="off_topic",
        suggestion="drop" if flagged else "review",
        why=why,
        evidence=evidence,
    )
