"""Wrong labels by where a sample's nearest neighbours lie: nearer to another label than to its own.

Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits", NeurIPS 2024 (arXiv 2305.17048). With d_same and
d_diff the distance D = (1 - cos) / 2 to the nearest other sample of the same and of another label,

    s = d_diff^2 / (d_same^2 + d_diff^2),

small where the label is suspicious; a sample whose label no other has takes its largest distance to the others for
d_same. Memory is linear: distances come in blocks, and those kept are measured again from differences.

Copies are where the ratio fails, so they are told apart first, by equal vectors (D of 1e-6 or less): a copy with the
same label says nothing about the label and is passed over, where the paper's d_same of 0 would hide a wrong label that
both share; a copy with another label means that one of the two is wrong: s = 0, always flagged.

The threshold ``auto`` is ours. Labels are flipped at random, one at a time, to learn how s is distributed where a label
is wrong without regard to the image, F1. If a share w is wrong in this way, F(t) = (1 - w) F0(t) + w F1(t) for all
scores, hence w <= F(t) / F1(t) at every t, with equality where right labels do not reach. If these bounds agree over
the low half of F1, their mean is taken for w, and the highest threshold with 1 - w F1(t) / F(t) <= ``fdr``. Where they
rise, right labels reach that low, or the wrong ones are those of hard images, and how many there are cannot be told.
Not seen by this: labels that one class always lends to the same other. They keep each other company, so that s is not
small, and the count is too low. Where many are wrong (20% of the digits) a quarter of the flagged were right.
``logistic`` is the paper's cut (:mod:`kintsugi.ops.logistic_cut`); with its default alpha it flags hardly anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.vectors import usable, vectors
from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.ops.logistic_cut import logistic_cut
from kintsugi.ops.neighbours import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="neighbour_ratio",
    kind="auditor",
    title="Labels whose sample lies nearer to another label than to its own",
    paper="Groeger et al., Intrinsic Self-Supervision for Data Quality Audits, NeurIPS 2024, arXiv:2305.17048",
    card=111,
    code="https://github.com/Digital-Dermatology/SelfClean",
    needs=("features",),
    status="proven",
    settings=(("fashion", "proven"),),
)

COPY = 1e-6  # D up to which two vectors are of one picture: what rounding leaves of equal ones
KEPT = 5  # candidates of a block product that are measured again
CELLS = 16_000_000  # distances held at a time
PLANTED = 2000  # labels flipped to learn what wrong ones look like
FEWEST = 50  # samples from which a distribution can be told
AT = np.linspace(0.2, 0.5, 7)  # shares of planted errors at whose scores the bounds are taken
RISE = 0.15  # how much of itself the bound may rise along them, by the 2.5% quantile of the bootstrap


class NeighbourRatio:
    """Finds label errors from features.

    Args:
        encoder: whose vectors are compared; None takes ``outputs.features``.
        threshold: ``auto``, ``logistic``, or the score 1 - s from which a label is flagged, 0 to 1.
        fdr: with ``auto``, accepted share of right labels among those flagged.
        alpha: with ``logistic``, upper bound of the share of wrong labels.
        q: with ``logistic``, its significance.
        draws: bootstrap draws behind the interval of the count.

    A finding is a sample that lies nearer to another label than to its own (s below 1/2), its score 1 - s.
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        *,
        threshold: float | Literal["auto", "logistic"] = "auto",
        fdr: float = 0.2,
        alpha: float = 0.1,
        q: float = 0.05,
        draws: int = 200,
    ) -> None:
        if isinstance(threshold, str):
            one_of("threshold", threshold, ("auto", "logistic"))
        else:
            require(0 <= threshold <= 1, "threshold", threshold, "auto, logistic, or a score from 0 to 1")
        require(0 < fdr < 1, "fdr", fdr, "a share between 0 and 1")
        require(0 < alpha < 0.5, "alpha", alpha, "a share above 0, below 0.5")
        require(0 < q < 1, "q", q, "a significance between 0 and 1")
        require(draws >= 100, "draws", draws, "at least 100 draws")
        self.encoder, self.threshold, self.fdr, self.alpha, self.q = encoder, threshold, fdr, alpha, q
        self.draws = draws

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels; samples without a label or without finite features are left out.

        Raises:
            BadArgument: there is neither an encoder nor ``outputs`` with features.
        """
        features = vectors(CARD.name, data, outputs, self.encoder)
        rows = np.flatnonzero(usable(features) & (data.labels >= 0))
        label = data.labels[rows]
        params = {name: getattr(self, name) for name in ("threshold", "fdr", "alpha", "q", "draws")}
        notes = [f"{len(data) - len(rows)} samples without a label or features were left out."]
        notes = notes if len(rows) < len(data) else []
        if len(np.unique(label)) < 2:
            notes.append("Cannot tell which labels are wrong: fewer than two classes have labelled samples.")
            return Findings.of([], CARD.name, params, Summary(None, None, None, tuple(notes)))
        if (features[rows] == features[rows[0]]).all():
            notes.append("Cannot tell which labels are wrong: all samples have the same features.")
            return Findings.of([], CARD.name, params, Summary(None, None, None, tuple(notes)))
        said = neighbour_ratio(features[rows], label)
        cut, count, interval, note = self._cut(features[rows], label, said.s, rng)
        found = [
            _finding(data, rows, int(i), said, bool(said.s[i] < cut or said.s[i] == 0))
            for i in np.flatnonzero(said.s < 0.5)
        ]
        copies = int((said.s == 0).sum())
        if copies:
            notes.append(f"{copies} samples are copies of samples with another label: one label of each is wrong.")
        summary = Summary(1 - cut, count, interval, (*notes, note))
        return Findings.of(found, CARD.name, params, summary)

    def _cut(
        self, features: NDArray[np.float32], label: NDArray[np.int64], s: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[float, float | None, tuple[float, float] | None, str]:
        """s below which a label is flagged, the count of wrong ones with its interval, and how they were found."""
        if not isinstance(self.threshold, str):
            return 1 - self.threshold, None, None, "Cannot tell how many labels are wrong from a fixed threshold."
        if self.threshold == "logistic":
            cut = logistic_cut(s, alpha=self.alpha, q=self.q)[0]
            how = f"Flagged below s = {cut:.2g} by the logistic cut (alpha {self.alpha:g}, q {self.q:g})"
            return cut, None, None, f"{how}, which does not say how many labels are wrong."
        if len(label) < 4 * FEWEST:
            return 0.0, None, None, "Cannot tell how many labels are wrong, nor flag any but copies: too few samples."
        return planted_cut(s, self._planted(features, label, rng), self.fdr, self.draws, rng)

    @staticmethod
    def _planted(
        features: NDArray[np.float32], label: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """s of samples, each as if it alone had the label of a random sample of another class."""
        chosen = rng.permutation(len(label))[:PLANTED]
        other = label[rng.integers(len(label), size=(len(chosen), 64))]
        first = (other != label[chosen, None]).argmax(axis=1)
        flipped = other[np.arange(len(chosen)), first]
        moved = flipped != label[chosen]
        return neighbour_ratio(features, label, chosen[moved], flipped[moved]).s


@dataclass(frozen=True)
class Ratio:
    """What :func:`neighbour_ratio` says of each sample asked for.

    Attributes:
        s: 0..1, small is suspicious, float64 ``[R]``.
        same: D to the nearest sample of the same label that is no copy, float64 ``[R]``.
        other: D to the nearest of another label.
        who: row of that one, int64 ``[R]``.
    """

    s: NDArray[np.float64]
    same: NDArray[np.float64]
    other: NDArray[np.float64]
    who: NDArray[np.int64]


def neighbour_ratio(
    features: NDArray[Any],
    label: NDArray[np.int64],
    rows: NDArray[np.int64] | None = None,
    instead: NDArray[np.int64] | None = None,
) -> Ratio:
    """The ratio s of labelled samples.

    Args:
        features: float ``[N, D]``, finite, no row all zero.
        label: int ``[N]``, two labels or more.
        rows: samples asked for, int64 ``[R]``; None for all.
        instead: labels to try on them, each by itself, int64 ``[R]``; None for their own.

    Raises:
        BadData: there is one label alone, or a feature is not finite.
    """
    if len(np.unique(label)) < 2:
        raise BadData("There is only one label:", "s compares a label with the others.")
    if not np.isfinite(features).all():
        raise BadData("features is not finite:", "leave those samples out.")
    scaled = unit(features)
    asked = np.arange(len(label)) if rows is None else rows
    tried = label[asked] if instead is None else instead
    base, own = _distinct(scaled, label)  # of equal vectors with one label the first stands for all
    points, theirs = scaled[base], label[base]
    same, other, who = np.empty(len(asked)), np.empty(len(asked)), np.empty(len(asked), dtype=np.int64)
    high = max(1, CELLS // len(base))
    with task("compare labels of neighbours", len(asked)) as tracker:
        for top in range(0, len(asked), high):
            mine = asked[top : top + high]
            product = scaled[mine] @ points.T
            product[np.arange(len(mine)), own[mine]] = -np.inf
            alike = tried[top : top + high, None] == theirs[None]
            apart, near = _nearest(scaled[mine], points, np.where(alike, -np.inf, product))
            place = slice(top, top + len(mine))
            other[place], who[place] = apart[:, 0], base[near[:, 0]]
            apart, _ = _nearest(scaled[mine], points, np.where(alike, product, -np.inf))
            apart = np.where(apart > COPY, apart, np.inf).min(axis=1)  # copies say nothing
            farthest = (1 - np.where(alike | np.isneginf(product), np.inf, product).min(axis=1)) / 2
            same[place] = np.where(np.isfinite(apart), apart, farthest)
            tracker.advance(len(mine))
    other[other <= COPY] = 0.0
    return Ratio(other**2 / np.maximum(same**2 + other**2, np.finfo(float).tiny), same, other, who)


def planted_cut(
    s: NDArray[np.float64], planted: NDArray[np.float64], fdr: float, draws: int, rng: np.random.Generator
) -> tuple[float, float | None, tuple[float, float] | None, str]:
    """The cut on s, the estimated count of wrong labels with its 95% interval, and a sentence; see the module's text.

    Args:
        s: of all samples.
        planted: of samples with flipped labels.
        fdr: accepted share of right labels among those flagged.
        draws: of the bootstrap.
        rng: for them.
    """
    total, size = len(s), len(planted)
    bounds = _bounds(np.sort(s), np.sort(planted))
    draws_of = (
        _bounds(np.sort(s[rng.integers(total, size=total)]), np.sort(planted[rng.integers(size, size=size)]))
        for _ in range(draws)
    )
    drawn = np.stack(list(draws_of))
    share, ranked = float(bounds.mean()), np.sort(s)
    expected = share * np.searchsorted(np.sort(planted), ranked, side="right") / size * total
    flagged = np.searchsorted(ranked, ranked, side="right")
    fine = np.flatnonzero((flagged - expected <= fdr * flagged) & (ranked < 0.5))
    cut = float(np.nextafter(ranked[fine[-1]], 1.0)) if len(fine) else 0.0
    where = f"Flagged from a score of {1 - cut:.3f}, so that about {1 - fdr:.0%} of the flagged are wrong"
    if np.quantile(drawn[:, -1] - drawn[:, :3].mean(axis=1), 0.025) > RISE * share or share > 0.4:
        why = "right labels look like flipped ones, or those of hard images are the wrong ones"
        return cut, None, None, f"{where} at most. Cannot tell how many labels are wrong: {why}."
    low, high = np.quantile(drawn.min(axis=1), 0.025), np.quantile(drawn.max(axis=1), 0.975)
    count = total * share
    note = f"{where}. The count holds for labels flipped at random to any class alike."
    return cut, count, (min(count, float(low * total)), max(count, float(high * total))), note


def _bounds(s: NDArray[np.float64], planted: NDArray[np.float64]) -> NDArray[np.float64]:
    """F(t) / F1(t) where F1 is :data:`AT`; both arguments sorted."""
    at = np.quantile(planted, AT)
    mine = np.searchsorted(s, at, side="right") / len(s)
    theirs = np.searchsorted(planted, at, side="right") / len(planted)
    return np.asarray(mine / theirs)


def _distinct(vectors: NDArray[np.float32], label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that differ from all before them in vector or label, and for each row the place of its own in that list."""
    text = np.ascontiguousarray(np.concatenate([vectors.view(np.uint8), label[:, None].view(np.uint8)], axis=1))
    keys = text.view(np.dtype((np.void, text.shape[1])))[:, 0]
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[place]


def _nearest(
    asked: NDArray[np.float32], points: NDArray[np.float32], product: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The :data:`KEPT` largest products, measured again: D ascending (infinite for those ruled out), and points."""
    kept = min(KEPT, len(points))
    place = np.argpartition(product, len(points) - kept, axis=1)[:, -kept:]
    between = asked[:, None] - points[place]
    exact = np.einsum("qkd,qkd->qk", between, between, dtype=np.float64) / 4  # |u - v|^2 = 2 - 2 cos
    exact = np.where(np.isneginf(np.take_along_axis(product, place, 1)), np.inf, exact)
    order = np.lexsort((place, exact), axis=1)
    return np.take_along_axis(exact, order, 1), np.take_along_axis(place, order, 1)


def _finding(data: ImageSet, rows: NDArray[np.int64], i: int, said: Ratio, flagged: bool) -> Finding:
    row, who = int(rows[i]), int(rows[said.who[i]])
    own, its = data.classes[data.labels[row]], data.classes[data.labels[who]]
    what = f"a copy of {data.ids[who]}" if said.s[i] == 0 else f"its nearest of another label is {data.ids[who]}"
    return Finding(
        subject="sample",
        ids=(data.ids[row],),
        score=float(1 - said.s[i]),
        flagged=flagged,
        check="conflicting_copy" if said.s[i] == 0 else "label_error",
        suggestion="review" if said.s[i] == 0 else f"relabel:{data.labels[who]}",
        why=f"labelled {own}, {what}, labelled {its} (D {said.other[i]:.3g}; to its own label {said.same[i]:.3g})",
        evidence={"label": own, "guess": its, "d_same": float(said.same[i]), "d_diff": float(said.other[i])},
    )
