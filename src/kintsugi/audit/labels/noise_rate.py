"""How many labels are wrong: an interval where held-out probabilities can tell, else from reviewed samples, else none.

**From probabilities.** Noise is taken not to depend on the image: a sample of class i gets label j with chance T_ij
(class-conditional noise; Patrini et al., CVPR 2017). Held-out probabilities p of the given labels are unfolded,
q = softmax(c log(p T^-1) + b), to those of the true classes, and c, b and T are fitted to the labels by expectation and
maximisation of prod_n sum_i q_ni T_i,y (in the manner of Dawid and Skene 1979: the predictor's confusion and the noise
at once). Where p is exact, every T short of the largest fits equally well; the largest, whose classes have pure
samples, is meant (the smallest simplex; Li et al., ICML 2021), so the fit starts from the noisy side and posteriors are
sharpened, first by the power 1.2, then 1.06. The rate is the chance that a label is not the true class. The rules below
are ours; their constants were fixed on the first draws of MNIST and Fashion-MNIST (5000 images, other seeds than the
evidence's) and on simulated worlds in which p is exact, the hardest case.

Where classes look alike, overlap and noise look alike too. Pairs of classes that overlap more than twice the average
are *near*, the others *far*, and only far cells of T are taken at their word. If noise is even over the far cells of
each row, near cells are given the same level and what they hold beyond it counts as overlap (uniform noise). If not,
noise depends on the class, near cells stand, and what they hold beyond that level both ways is doubt, less what the
clear samples show: noise that does not depend on the image is as frequent in that half of a class that looks least
like the other class as in all of it, while overlap, and noise that depends on the image, is hardly there. The interval
covers sampling, sqrt(r (1 - r) / N), an allowance for bias, 0.13 of the overlap (1 - the mean of max q) and the doubt,
and half a point for the fit, added in quadrature. It is not given ("cannot tell") where the allowance passes 1.78
points; where noise depends on the class and the overlap passes 7%; or where overlap and doubt together pass 6 points
and twice the rate: noise that depends on the image, which looks like overlap, would hide there. Nothing that is
computed from the same labels can see all such noise; only a review can. Known to fail: in simulated worlds with noise
by class and an overlap of 6.6% the estimate was up to 3.8 points too low; on MNIST, with noise by class and one pair of
classes swapped where they look alike, 5 of 36 trials were told, 1.4 points too low on average.

**From a review.** Of 200 samples or more drawn at random, the share found wrong. The scores cut the data into parts
(label the most probable class or not, and how improbable); shares of the parts are weighted by their known sizes
(post-stratification), with equal tails of Jeffreys draws as the interval. Scores that say nothing cost nothing but
width: whatever they are, a part is estimated by its own reviewed samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require
from kintsugi.ops.statistics import jeffreys_draws, percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ENOUGH = 200  # reviewed samples
REMEDY = f"review {ENOUGH} samples drawn at random"
FEWEST = 10  # samples of a class below which counts say nothing
DRAWS = 8000  # behind a reviewed interval
CELLS = 5_000_000  # probabilities looked at, at most: beyond, a part of the samples
A_CELL = 5  # samples there must be for each cell of T
ITERATIONS = 120
SHARPER = 1.2, 1.06  # powers of the posteriors, in the first third of the iterations and after
LEAST = 0.001  # probability below which unfolded ones are cut off
NEAR = 2.0  # times the average overlap of two classes
EVEN = 0.6  # relative spread of far cells beyond chance up to which noise is even
FAINT = 0.02  # noise in far cells below which its spread says nothing
BIAS = 0.13  # of the overlap
FLOOR = 0.005  # what the fit may be off where nothing overlaps
LARGEST_ALLOWANCE = 0.0178
CLEAR = 0.07  # overlap up to which noise that depends on the class can be told
HIDING = 0.06, 2.0  # overlap and doubt that may stand beside any rate, and beside a rate, in its multiples


@dataclass(frozen=True)
class RateEstimate:
    """An estimated share of wrong labels.

    Attributes:
        rate: share in 0..1, or None where nothing can be told.
        interval: its 95% interval, or None.
        note: one sentence for a reader: what it rests on, or why nothing can be told and what helps.
        reviewed: whether it rests on a review.
    """

    rate: float | None
    interval: tuple[float, float] | None
    note: str
    reviewed: bool = False

    def count(self, total: int) -> tuple[float | None, tuple[float, float] | None]:
        """The number of wrong labels among ``total``, with its interval."""
        if self.rate is None or self.interval is None:
            return None, None
        return total * self.rate, (total * self.interval[0], total * self.interval[1])


@dataclass(frozen=True)
class Reviewed:
    """A random sample whose labels somebody looked at.

    Attributes:
        row: which samples, int64 ``[n]``, each once.
        wrong: 1 where the label is wrong, 0 where it is right, NaN where the reviewer was unsure, float ``[n]``.
    """

    row: NDArray[np.int64]
    wrong: Floats

    @classmethod
    def of(cls, said: Mapping[str, float], ids: Sequence[str]) -> Reviewed:
        """What was said of samples by id, by the data's rows; other data's ids are left out."""
        row = [number for number, name in enumerate(ids) if name in said]
        return cls(np.array(row, dtype=np.int64), np.array([said[ids[number]] for number in row], dtype=np.float64))


def estimate(
    label: NDArray[np.int64], prob: NDArray[Any], *, reviewed: Reviewed | None = None, rng: np.random.Generator
) -> RateEstimate:
    """The share of wrong labels.

    Args:
        label: given labels, int ``[N]`` in 0..K-1.
        prob: held-out probabilities of the given labels, float ``[N, K]``.
        reviewed: a reviewed random sample; from :data:`ENOUGH` on it decides.
        rng: for the part of large data that is looked at, and for the reviewed interval.
    """
    looked = 0 if reviewed is None else len(reviewed.row)
    if reviewed is not None and looked >= ENOUGH:
        return _from_review(label, prob, reviewed, rng)
    told = _from_probabilities(label, prob, rng)
    if looked and told.rate is None:
        more = f"{told.note} {looked} have been reviewed, {ENOUGH - looked} are missing."
        return RateEstimate(None, None, more)
    return told


# ------------------------------------------------------------------------------------------------------ a review


def _from_review(
    label: NDArray[np.int64], prob: NDArray[Any], reviewed: Reviewed, rng: np.random.Generator
) -> RateEstimate:
    row, wrong = reviewed.row, reviewed.wrong
    once = len(np.unique(row)) == len(row) and row.min() >= 0 and row.max() < len(label)
    require(bool(once), "reviewed", len(row), "rows of the data, each once")
    part = _parts(label, prob, row)
    size = np.bincount(part)
    total, unsure = np.bincount(part[row], minlength=len(size)), np.isnan(wrong)
    ends, middle = [], []
    # Labels nobody was sure of are right at the lower end and wrong at the upper.
    for value in (0.0, 1.0):
        found = np.bincount(part[row], weights=np.where(unsure, value, wrong), minlength=len(size))
        drawn = jeffreys_draws(found, total, DRAWS, rng) @ (size / size.sum())
        low, high = percentile_interval(drawn)
        middle.append(float((found / total) @ (size / size.sum())))
        ends.append((0.0 if found.sum() == 0 else low, 1.0 if found.sum() == total.sum() else high))
    note = f"From {len(row)} reviewed samples."
    if unsure.any():
        note = f"From {len(row)} reviewed samples, {int(unsure.sum())} of them unsure (the interval allows for both)."
    rate = float(np.mean(middle))
    return RateEstimate(rate, (min(rate, ends[0][0]), max(rate, ends[1][1])), note, reviewed=True)


def _parts(label: NDArray[np.int64], prob: NDArray[Any], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers parts of the data by how doubtful the label is; each holds ten reviewed samples or more."""
    own = prob[np.arange(len(label)), label]
    suspect = own < prob.max(axis=1, initial=0.0)
    part = suspect.astype(np.int64)
    if suspect.any():
        part[suspect & (own < np.median(own[suspect]))] = 2
    while part.max() and np.bincount(part[row], minlength=int(part.max()) + 1).min() < 10:
        least = int(np.bincount(part[row], minlength=int(part.max()) + 1).argmin())
        part[part == least] = max(0, least - 1) if least else 1
        part = np.unique(part, return_inverse=True)[1].reshape(-1)
    return part


# ------------------------------------------------------------------------------------------------- probabilities


def _cannot(why: str) -> RateEstimate:
    return RateEstimate(None, None, f"Cannot tell how many labels are wrong: {why}; {REMEDY}.")


def _from_probabilities(label: NDArray[np.int64], prob: NDArray[Any], rng: np.random.Generator) -> RateEstimate:
    size = np.bincount(label, minlength=prob.shape[1])
    present = np.flatnonzero(size)
    if len(present) < 2:
        return _cannot("fewer than two classes have samples")
    if size[present].min() < FEWEST:
        return _cannot(f"a class has only {size[present].min()} samples")
    if len(label) < A_CELL * len(present) ** 2:
        return _cannot(f"{len(label)} samples are few for {len(present)} classes")
    part = np.arange(len(label))
    if len(label) * len(present) > CELLS:
        part = np.sort(rng.permutation(len(label))[: max(CELLS // len(present), A_CELL * len(present) ** 2)])
    given, p = np.searchsorted(present, label[part]), prob[part][:, present].astype(np.float64)
    total = p.sum(axis=1, keepdims=True)
    fit = _fit(given, np.where(total > 0, p / np.maximum(total, 1e-12), 1 / len(present)))
    if fit is None:
        return _cannot("the labels are too noisy, or the predictor is too weak, to tell the classes apart")
    return _judged(given, *fit)


def _fit(label: NDArray[np.int64], p: Floats) -> tuple[float, Floats, Floats] | None:
    """The rate, the joint of true and given class ``[K, K]``, and probabilities of the true class ``[N, K]``."""
    classes = p.shape[1]
    given = np.eye(classes, dtype=np.float32)[label]
    # From the noisy side: where p is exact, every noise below the largest that keeps p T^-1 positive fits equally well.
    joint = np.eye(classes)[p.argmax(axis=1)].T @ given + 1.0
    scale, shift, rate = 1.0, np.zeros(classes), -1.0
    ridge = np.diag(np.r_[1e-3, np.ones(classes)])
    for step in range(ITERATIONS):
        early = 3 * step < ITERATIONS
        noise = joint / joint.sum(axis=1, keepdims=True)
        z = _unfolded(p, noise)
        logits = np.float32(scale) * z + shift.astype(np.float32)
        q = _softmax(logits)
        held = _softmax(np.float32(SHARPER[0 if early else 1]) * (logits + np.log(noise).T[label].astype(np.float32)))
        joint = (held.T @ given).astype(np.float64) + 1e-3
        # One Newton step for scale and shift: a softmax regression of the true classes on z.
        off, weighted = held - q, q * z
        mean = weighted.sum(axis=1, keepdims=True)
        slope = np.r_[(off * z).sum(), off.sum(axis=0) - shift]
        cross = weighted.sum(axis=0) - (q * mean).sum(axis=0)
        bend = np.empty((classes + 1, classes + 1))
        bend[0, 0], bend[0, 1:], bend[1:, 0] = (weighted * (z - mean)).sum(), cross, cross
        bend[1:, 1:] = np.diag(q.sum(axis=0)) - q.T @ q
        move = np.clip(np.linalg.solve(bend + ridge, slope), -0.5, 0.5)
        scale, shift = scale + float(move[0]), shift + move[1:]
        before, rate = rate, 1 - float(np.trace(joint) / joint.sum())
        if not early and abs(rate - before) < 1e-5:
            break
    noise = joint / joint.sum(axis=1, keepdims=True)
    sane = np.isfinite(rate) and scale > 0 and bool((noise.diagonal() >= noise.max(axis=1)).all())
    return (rate, joint / joint.sum(), q.astype(np.float64)) if sane else None


def _unfolded(p: Floats, noise: Floats) -> NDArray[np.float32]:
    """log(p T^-1), less each row's mean."""
    try:
        q = np.maximum(p @ np.linalg.inv(noise), LEAST)
    except np.linalg.LinAlgError:
        q = np.maximum(p, LEAST)
    z = np.log(q.astype(np.float32))  # the rows' sums do not matter: only differences within a row do
    return np.asarray(z - z.mean(axis=1, keepdims=True))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def _judged(label: NDArray[np.int64], rate: float, joint: Floats, q: Floats) -> RateEstimate:
    """The estimate with its interval, if what it assumes is borne out."""
    classes, n = len(joint), len(label)
    other = ~np.eye(classes, dtype=bool)
    alike = q.T @ q
    near = other & (alike > NEAR * alike[other].mean())
    far = other & ~near
    cells = far.sum(axis=1)
    level = np.where(far, joint, 0.0).sum(axis=1) / np.maximum(cells, 1)
    excess = np.where(near, np.maximum(0.0, joint - level[:, None]), 0.0)
    overlap = 1 - float(q.max(axis=1).mean())
    even = _even(joint, level, far, n)
    if even:
        rate, doubt = rate - float(excess.sum()), 0.0
        hidden, kind = float(excess.sum()), "the same in all classes that do not look alike"
    else:
        doubt = hidden = _doubt(label, joint, q, excess, level)
        kind = "different from class to class"
    rate = float(max(0.0, rate))
    allowance = BIAS * overlap + doubt
    if allowance > LARGEST_ALLOWANCE or not (even or overlap <= CLEAR):
        return _cannot(
            f"classes overlap ({100 * overlap:.0f}%) too much for this predictor to tell them from wrong labels"
        )
    if overlap + hidden > max(HIDING[0], HIDING[1] * rate):
        return _cannot("more samples are in doubt than noise alone explains, so it may depend on the image")
    sampling = 1.96 * np.sqrt(max(rate * (1 - rate), 1 / n) / n)
    half = float(np.sqrt(sampling**2 + allowance**2 + FLOOR**2))
    return RateEstimate(
        rate,
        (max(0.0, rate - half), min(1.0, rate + half)),
        f"The estimate assumes that wrong labels do not depend on the image; they look {kind}.",
    )


def _doubt(label: NDArray[np.int64], joint: Floats, q: Floats, excess: Floats, level: Floats) -> float:
    """What near cells hold both ways beyond the level, less what clear samples show of it."""
    both, guess = np.minimum(excess, excess.T), q.argmax(axis=1)
    share = np.zeros(joint.shape)  # labelled j, of the half of class i that looks least like class j
    for i in np.flatnonzero((both > 0).any(axis=1)).tolist():
        member, others = np.flatnonzero(guess == i), np.flatnonzero(both[i])
        if len(member):
            like = q[np.ix_(member, others)]
            clear = like <= np.median(like, axis=0)
            share[i, others] = (clear & (label[member, None] == others)).sum(axis=0) / clear.sum(axis=0)
    shown = np.clip(share * joint.sum(axis=1)[:, None] - level[:, None], 0.0, excess)
    return float(np.maximum(0.0, both - np.minimum(shown, shown.T)).sum())


def _even(joint: Floats, level: Floats, far: NDArray[np.bool_], n: int) -> bool:
    """Whether noise is spread over the far cells of each row as chance would have it, or nearly so."""
    free = float((far.sum(axis=1) - 1).clip(0).sum())
    mean = float(joint[far].mean()) if far.any() else 0.0
    if free < 1 or mean * far.sum() <= FAINT:
        return True
    spread = float((((joint - level[:, None]) ** 2) / np.maximum(level[:, None], 1e-12) * far).sum()) * n / free
    return max(0.0, spread - 1) / (n * mean) <= EVEN**2
