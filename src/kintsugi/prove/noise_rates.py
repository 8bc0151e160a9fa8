"""Do intervals of the share of wrong labels hold the truth? Noise planted anew, many times, on real images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.labels.joint import scan
from kintsugi.audit.labels.noise_rate import Reviewed, estimate
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.given import given_file
from kintsugi.ops.statistics import wilson
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

MNIST, FASHION = "mnist_20k_train_5k_test.npz", "fashion_mnist_full_60k_10k.npz"
IMAGES, REPEATS, K, LANDMARKS, REVIEWS = 10_000, 10, 10, 800, 200
TOLD = {
    "MNIST, uniform 0.2": (MNIST, 0.2, False),
    "MNIST, by class 0.2": (MNIST, 0.2, True),
    "Fashion-MNIST, uniform 0.2": (FASHION, 0.2, False),
}
HIDDEN = {"MNIST, by image 0.1": (MNIST, 0.1)}
COVER, WIDTH, SILENT = "coverage", "minus half-width", "cannot tell"
OURS, REVIEW, JOINT, PLAIN = "noise_rate", "noise_rate, reviewed", "confident joint, Wilson", "review, Wilson"
BOUNDS = {COVER: ("90%", 0.9), WIDTH: ("2 points", -0.02), SILENT: ("95%", 0.95)}


def rates() -> Seeded:
    """The trial, a setting of `confident_learning`."""
    claims = [Claim(row, metric, OURS, (BOUNDS[metric][0],)) for row in TOLD for metric in (COVER, WIDTH)]
    claims += [Claim(row, SILENT, OURS, (BOUNDS[SILENT][0],)) for row in HIDDEN]
    claims += [Claim(row, COVER, REVIEW, (BOUNDS[COVER][0],)) for row in HIDDEN]
    claims += [Claim(row, WIDTH, REVIEW, (PLAIN,)) for row in HIDDEN]
    return Seeded(
        "confident_learning",
        "confident_learning: 95% intervals of the share of wrong labels hold the planted share, or there is none",
        tuple(claims),
        _measure,
        "MNIST and Fashion-MNIST, 10,000 images drawn anew for each seed, labels planted anew ten times; ridge "
        "heads on 800 radial features of raw pixels, each image predicted by the head that leaves it out; constants "
        "were fixed on seeds of their own",
        seeds=10,
        settings={
            "coverage": "share of repetitions in which the interval is given and holds the share planted",
            "by class": "class c gets one other label, its rate between 0 and 0.4, both drawn anew",
            "by image": "images that clean heads have right, but most narrowly, get the second most probable class",
            "cannot tell": "share of repetitions in which no interval is given, which is right where noise is by image",
        },
    )


@dataclass(frozen=True)
class Heads:
    """Ridge regression of the labels on radial features of landmarks; leaving one out is a closed form.

    Allen's formula: without its own sample, a fit f_i is (f_i - h_i y_i) / (1 - h_i), h the diagonal of the hat matrix.
    """

    feature: NDArray[np.float32]
    fitted: NDArray[np.float32]
    own: NDArray[np.float32]

    @classmethod
    def on(cls, image: NDArray[np.uint8], rng: np.random.Generator, ridge: float = 1.0) -> Heads:
        """Features of images ``[N, H, W]``: exp(-3 d / the median of d), d squared distances to landmarks."""
        flat = image.reshape(len(image), -1).astype(np.float32) / 255
        mark = flat[rng.permutation(len(flat))[:LANDMARKS]]
        apart = (flat**2).sum(axis=1)[:, None] + (mark**2).sum(axis=1) - 2 * flat @ mark.T
        feature = np.exp(-3 * apart / np.median(apart))
        inverse = np.linalg.inv((feature.T @ feature).astype(np.float64) + ridge * np.eye(len(mark)))
        fitted = feature @ inverse.astype(np.float32)
        return cls(feature, fitted, (fitted * feature).sum(axis=1))

    def held_out(self, label: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probabilities ``[N, K]``, each row by the head that never saw its label."""
        target = np.eye(K, dtype=np.float32)[label]
        said = self.fitted @ (self.feature.T @ target)
        said = np.maximum((said - self.own[:, None] * target) / (1 - self.own[:, None]), 1e-3).astype(np.float64)
        return np.asarray(said / said.sum(axis=1, keepdims=True))


def _measure(seed: int, run: Run) -> Measured:
    for name in (MNIST, FASHION):
        with np.load(given_file(name)) as held:
            rows = numpy_rng(seed, name).permutation(len(held["y_train"]))[:IMAGES]
            image, label = held["x_train"][rows], held["y_train"][rows].astype(np.int64)
        heads = Heads.on(image, numpy_rng(seed, name, "landmarks"))
        for row, (of, share, by_class) in TOLD.items():
            if of == name:
                yield from _row(row, seed, label, heads, partial(_planted, label, share, by_class))
        for row, (of, share) in HIDDEN.items():
            if of == name:
                yield from _row(row, seed, label, heads, partial(_by_image, label, heads.held_out(label), share))


def _row(row: str, seed: int, true: NDArray[np.int64], heads: Heads, plant: Any) -> Measured:
    scores: dict[str, list[tuple[bool, float]]] = {}
    for number in range(REPEATS):
        rng = numpy_rng(seed, row, number)
        label = plant(rng)
        wrong, prob = label != true, heads.held_out(label)
        looked = np.sort(rng.permutation(IMAGES)[:REVIEWS])
        reviewed = Reviewed(looked, wrong[looked].astype(np.float64))
        share = scan(label, prob).joint(label).wrong_share()
        plain, counted = wilson(int(wrong[looked].sum()), REVIEWS), wilson(share * IMAGES, IMAGES)
        intervals = {
            OURS: estimate(label, prob, rng=rng).interval,
            REVIEW: estimate(label, prob, reviewed=reviewed, rng=rng).interval,
            JOINT: (float(counted[0]), float(counted[1])),
            PLAIN: (float(plain[0]), float(plain[1])),
        }
        for arm, ends in intervals.items():
            held = ends is not None and ends[0] <= wrong.mean() <= ends[1]
            scores.setdefault(arm, []).append((held, np.nan if ends is None else (ends[1] - ends[0]) / 2))
    for arm, told in scores.items():
        half = np.array([width for _, width in told])
        made = {COVER: float(np.mean([held for held, _ in told])), SILENT: float(np.isnan(half).mean())}
        yield row, arm, made if np.isnan(half).all() else {**made, WIDTH: -float(np.nanmean(half))}
    for metric, (arm, value) in BOUNDS.items():
        yield row, arm, {metric: value}


def _planted(true: NDArray[np.int64], share: float, by_class: bool, rng: np.random.Generator) -> NDArray[np.int64]:
    rate = rng.permutation(np.linspace(0, 2 * share, K)) if by_class else np.full(K, share)
    step = rng.integers(1, K, size=K)[true] if by_class else rng.integers(1, K, size=len(true))
    return np.where(rng.random(len(true)) < rate[true], (true + step) % K, true)


def _by_image(
    true: NDArray[np.int64], prob: NDArray[np.float64], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Images between two classes get the second most probable one, if the most probable is their own."""
    each = np.arange(len(true))
    other = prob.copy()
    other[each, true] = -1.0
    lead = prob[each, true] - other.max(axis=1)
    order = np.lexsort((rng.random(len(true)), np.where(lead > 0, lead, np.inf)))
    label = true.copy()
    # A third is left out by lot, so that repetitions differ.
    hardest = rng.permutation(order[: round(1.5 * share * len(true))])[: round(share * len(true))]
    label[hardest] = other[hardest].argmax(axis=1)
    return label
