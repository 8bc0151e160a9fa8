"""Seven ways in which labels go wrong, for planting: by chance, by class, by image, and by the people who label.

Goswami, Sanchez, Dubrawski and others, "AQuA: A Benchmarking Tool for Label Quality Assessment", NeurIPS 2023, section
on synthetic noise, with T[i, j] = P(given j | true i), N samples, K classes and a rate r:

- uniform: a label stays with probability 1 - r, else becomes each other class with r / (K - 1).
- asymmetric: exactly int(r N) samples, drawn without replacement, get the next class, y + 1 mod K.
- class-dependent: T is the row-normalised confusion matrix of a trained model.
- instance-dependent: a flip rate q ~ N(r, 0.1) truncated to 0..1 for each sample, W ~ N(0, 1) of shape [S, K]; the
  wrong class is drawn from softmax(features W) with the true class left out (Xia et al., NeurIPS 2020, algorithm 2).
- dissenting label: samples in random order get one of the labels with which an annotator dissented, until the rate r.
- dissenting worker: annotators in random order, of each the dissenting labels, until the rate r.
- crowd majority: what most annotators say.

Where the authors' code (autonlab/aqua) differs it is wrong, and this follows the paper: its truncated normal has the
support r..r+0.1 (its bounds are in standardised units), so that rates come out above r; its class-dependent injector
multiplies by the transpose of T, which is no distribution over given labels. Ours: a rate scales the off-diagonal of
the confusion matrix so that the expected share of wrong labels is r; equally common votes are decided by lot; a rate
that the annotators' dissent does not reach is refused.

Labels are planted in training data alone: a test needs the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kintsugi.core.errors import BadData, one_of, require

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Labelled:
    """What a noise model may look at.

    Attributes:
        label: true labels, int ``[N]``, all known.
        classes: K.
        features: float ``[N, S]``, finite, for instance-dependent noise.
        confusion: how a model confuses the classes, ``[K, K]`` by true and predicted class, counts or shares.
        votes: int ``[N, A]``, the label each annotator gave, -1 where none.
    """

    label: NDArray[np.int64]
    classes: int
    features: NDArray[Any] | None = None
    confusion: NDArray[Any] | None = None
    votes: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        require(self.classes >= 2, "classes", self.classes, "2 or more")
        label = self.label
        if label.ndim != 1 or (len(label) and not 0 <= int(label.min()) <= int(label.max()) < self.classes):
            raise BadData(f"Labels lie outside 0..{self.classes - 1}:", "leave out samples without a label.")
        for name, value in (("features", self.features), ("votes", self.votes)):
            if value is not None and (value.ndim != 2 or len(value) != len(label)):
                raise BadData(f"{name} has shape {value.shape} for {len(label)} labels:", "give one row each.")
        if self.confusion is not None and self.confusion.shape != (self.classes, self.classes):
            raise BadData(f"confusion has shape {self.confusion.shape}:", f"give [{self.classes}, {self.classes}].")


class NoiseModel(Protocol):
    """A noise model: true labels to given ones."""

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise, int64 ``[N]``; those wrong are where they differ."""


@dataclass(frozen=True)
class Uniform:
    """Every other class is as likely. ``rate``: expected share of wrong labels, 0 to 1."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        _share(self.rate)

    def transition(self, known: Labelled) -> NDArray[np.float64]:
        """P(given | true), ``[K, K]``."""
        made = np.full((known.classes, known.classes), self.rate / (known.classes - 1))
        np.fill_diagonal(made, 1 - self.rate)
        return np.asarray(made)

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise."""
        return _drawn(self.transition(known)[known.label], rng)


@dataclass(frozen=True)
class Asymmetric:
    """The next class instead. ``rate``: share of wrong labels, 0 to 1; the count is exact, ``int(rate * N)``."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        _share(self.rate)

    def transition(self, known: Labelled) -> NDArray[np.float64]:
        """P(given | true), ``[K, K]``."""
        kept = np.eye(known.classes)
        return np.asarray((1 - self.rate) * kept + self.rate * np.roll(kept, 1, axis=1))

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise."""
        made = known.label.astype(np.int64)
        chosen = rng.permutation(len(made))[: int(self.rate * len(made) + 1e-9)]
        made[chosen] = (made[chosen] + 1) % known.classes
        return made


@dataclass(frozen=True)
class ClassDependent:
    """Classes are confused as a model confuses them.

    Args:
        rate: expected share of wrong labels, 0 to 1; None takes the confusion as it is.
    """

    rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            _share(self.rate)

    def transition(self, known: Labelled) -> NDArray[np.float64]:
        """P(given | true), ``[K, K]``.

        Raises:
            BadData: no confusion matrix, or one that cannot reach the rate.
        """
        counts = np.asarray(_needed(known, "confusion"), dtype=np.float64)
        if not np.isfinite(counts).all() or (counts < 0).any():
            raise BadData("confusion has entries that are negative or not finite:", "give counts or shares.")
        total = counts.sum(axis=1, keepdims=True)
        made = np.where(total > 0, counts / np.where(total > 0, total, 1), np.eye(known.classes))
        if self.rate is None:
            return np.asarray(made)
        off = made.copy()
        np.fill_diagonal(off, 0.0)
        share = np.bincount(known.label, minlength=known.classes) / max(1, len(known.label))
        expected = float(share @ off.sum(axis=1))
        if self.rate == 0 or not len(known.label):
            return np.eye(known.classes)
        if expected == 0:
            raise BadData("The confusion matrix has no confusion to scale:", "give that of a model that errs.")
        # A row cannot lose more than all: rows that would are filled up, and the others take what is left.
        lost, low, high = off.sum(axis=1), 0.0, 1.0
        able = float(share[lost > 0].sum())
        require(self.rate <= able, "rate", self.rate, f"at most {able:.3g}, the share of classes that are confused")
        while float(share @ np.minimum(1, high * lost)) < self.rate - 1e-12:
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if float(share @ np.minimum(1, middle * lost)) < self.rate else (low, middle)
        goes = np.minimum(1, high * lost)
        made = off * np.divide(goes, lost, out=np.zeros_like(lost), where=lost > 0)[:, None]
        np.fill_diagonal(made, 1 - goes)
        return np.asarray(made)

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise."""
        return _drawn(self.transition(known)[known.label], rng)


@dataclass(frozen=True)
class InstanceDependent:
    """Whether and how a label is wrong depends on the image.

    Args:
        rate: centre of the flip rates, 0 to 1.
        spread: standard deviation of the flip rates before they are cut to 0..1, above 0.
    """

    rate: float = 0.1
    spread: float = 0.1

    def __post_init__(self) -> None:
        _share(self.rate)
        require(self.spread > 0, "spread", self.spread, "a number above 0")

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise."""
        from scipy.special import softmax
        from scipy.stats import truncnorm

        features = np.asarray(_needed(known, "features"), dtype=np.float64)
        if not np.isfinite(features).all():
            raise BadData("features is not finite:", "leave out the images that cannot be read.")
        n, each = len(known.label), np.arange(len(known.label))
        low, high = (0 - self.rate) / self.spread, (1 - self.rate) / self.spread  # in units of the spread
        flip = truncnorm.rvs(low, high, loc=self.rate, scale=self.spread, size=n, random_state=rng)
        logits = features @ rng.standard_normal((features.shape[1], known.classes))
        logits[each, known.label] = -np.inf
        prob = np.asarray(flip)[:, None] * softmax(logits, axis=1)
        prob[each, known.label] = 1 - flip
        return _drawn(prob, rng)


@dataclass(frozen=True)
class DissentingLabel:
    """A random sample gets a label with which some annotator dissented. ``rate``: share of wrong labels, 0 to 1."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        _share(self.rate)

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise; of a sample's different dissenting labels each is as likely."""
        votes = np.asarray(_needed(known, "votes"))
        said = np.zeros((len(votes), known.classes), dtype=bool)
        rows, annotators = np.nonzero(votes >= 0)
        said[rows, votes[rows, annotators]] = True
        said[np.arange(len(votes)), known.label] = False
        able = np.flatnonzero(said.any(axis=1))
        wanted = _wanted(self.rate, len(votes), len(able))
        chosen = rng.permutation(able)[:wanted]
        made = known.label.astype(np.int64)
        made[chosen] = _drawn(said[chosen] / np.maximum(1, said[chosen].sum(axis=1, keepdims=True)), rng)
        return made


@dataclass(frozen=True)
class DissentingWorker:
    """Whole annotators are taken at their word. ``rate``: share of wrong labels, 0 to 1."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        _share(self.rate)

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise: annotators in random order, samples in random order, until the rate is reached."""
        votes = np.asarray(_needed(known, "votes"))
        dissents = (votes >= 0) & (votes != known.label[:, None])
        left = _wanted(self.rate, len(votes), int(dissents.any(axis=1).sum()))
        made = known.label.astype(np.int64)
        for annotator in rng.permutation(votes.shape[1]):
            open_rows = np.flatnonzero(dissents[:, annotator] & (made == known.label))
            chosen = rng.permutation(open_rows)[:left]
            made[chosen] = votes[chosen, annotator]
            left -= len(chosen)
        return made


@dataclass(frozen=True)
class CrowdMajority:
    """What most annotators say, by lot where equally many do; nobody's word leaves the true label."""

    def __call__(self, known: Labelled, rng: np.random.Generator) -> NDArray[np.int64]:
        """Labels with noise; the rate is the crowd's own."""
        votes = np.asarray(_needed(known, "votes"))
        count = np.zeros((len(votes), known.classes), dtype=np.int64)
        rows, annotators = np.nonzero(votes >= 0)
        np.add.at(count, (rows, votes[rows, annotators]), 1)
        top = (count == count.max(axis=1, keepdims=True, initial=0)) & (count > 0)
        made = known.label.astype(np.int64)
        some = np.flatnonzero(top.any(axis=1))
        made[some] = _drawn(top[some] / top[some].sum(axis=1, keepdims=True), rng)
        return made


# What each needs beyond labels is told by the error of `Labelled` fields that are missing.
NOISES: dict[str, type[Any]] = {
    "uniform": Uniform,
    "asymmetric": Asymmetric,
    "class_dependent": ClassDependent,
    "instance_dependent": InstanceDependent,
    "dissenting_label": DissentingLabel,
    "dissenting_worker": DissentingWorker,
    "crowd_majority": CrowdMajority,
}


def noise_model(name: str, rate: float | None = None) -> NoiseModel:
    """The noise model of that name, at a rate (None: its default; ``crowd_majority`` has none)."""
    one_of("name", name, tuple(NOISES))
    if name == "crowd_majority":
        require(rate is None, "rate", rate, "None: the crowd's rate is its own")
        return CrowdMajority()
    made: NoiseModel = NOISES[name]() if rate is None else NOISES[name](rate)
    return made


def _share(rate: float) -> None:
    require(0.0 <= rate <= 1.0, "rate", rate, "a share from 0 to 1")


def _needed(known: Labelled, name: str) -> Any:
    value = getattr(known, name)
    if value is None:
        raise BadData(f"This noise needs {name}:", f"give Labelled(..., {name}=...).")
    return value


def _wanted(rate: float, total: int, able: int) -> int:
    """How many labels go wrong: the first whole number that reaches the rate."""
    wanted = int(np.ceil(rate * total - 1e-9))
    if wanted > able:
        raise BadData(f"Annotators dissent on {able} of {total} samples, too few for a rate of {rate:g}:", "lower it.")
    return wanted


def _drawn(prob: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A class for each row of probabilities ``[N, K]``, int64 ``[N]``."""
    edge = np.cumsum(prob, axis=1)
    drawn = rng.random(len(prob)) * edge[:, -1]
    place = (edge <= drawn[:, None]).sum(axis=1)
    return np.asarray(np.minimum(place, prob.shape[1] - 1), dtype=np.int64)
