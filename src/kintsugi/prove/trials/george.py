"""Evidence for `george`: clusters of a net's features show the hidden groups that a shortcut makes it fail on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import draw_seed, numpy_rng
from kintsugi.data.compose.digits_on_photos import PHOTOS, DigitsOnPhotos
from kintsugi.data.imageset import ImageSet
from kintsugi.discover.slices.george import George
from kintsugi.models.predict import predict
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits, trained
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.run import Run

SHORTCUTS = {"shortcut always holds": 0.0, "shortcut holds in 98%": 0.02}
HALVES = "digits 0-4 and 5-9"
BASELINES = ("k-means of pixels", "k-means of pixels, true number", "random, same sizes")
AGREEMENT, BROKEN = "agreement", "broken in the worst cluster"


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "george",
        "george: agreement of its clusters with hidden groups (adjusted Rand index inside classes), and the share of "
        "the cluster of lowest accuracy that breaks the shortcut",
        (
            *(Claim(row, AGREEMENT, "george", BASELINES, margin=0.1) for row in SHORTCUTS),
            *(Claim(row, BROKEN, "george", BASELINES) for row in SHORTCUTS),
            Claim(HALVES, AGREEMENT, "george", BASELINES, shown_only=True),
        ),
        _measure,
        "scikit-learn's digits 3 and 8 on its two photographs, 16 px, 800 to train; groups are the backgrounds of the "
        "400 test images, hidden from the method. The number of clusters was made the paper's on seeds 100 to 102 (the "
        "highest silhouette; it was the highest gain over a blob). Shown: all digits in two classes, groups are the "
        "digits; on those seeds this net's features held less of them than pixels do, and the claim was given up",
        settings={"epochs": 12, "width": 16, "k-means of pixels": "as many clusters as the method found, or 2 a class"},
    )


def _measure(seed: int, run: Run) -> Measured:
    scenes = DigitsOnPhotos()
    for row, minority in SHORTCUTS.items():
        test = scenes.every_group("test", seed)
        hidden = (test.column("background") == PHOTOS[1]).astype(np.int64)
        outputs = predict(trained(scenes.mixed(800, minority, "pool", seed), seed), test, features=True)
        right = outputs.predicted == test.labels
        for arm, index in _partitions(row, test, outputs, 2, seed).items():
            worst = min(np.unique(index), key=lambda k: float(right[index == k].mean()))
            yield (
                row,
                arm,
                {
                    AGREEMENT: _agreement(test.labels, hidden, index),
                    BROKEN: float((hidden != test.labels)[index == worst].mean()),
                    "clusters": float(len(np.unique(index))),
                    "accuracy in the worst cluster": float(right[index == worst].mean()),
                },
            )
    train, test = digits(seed)
    halves = _halves(test)
    outputs = predict(trained(_halves(train), seed), halves, features=True)
    for arm, index in _partitions(HALVES, halves, outputs, 5, seed).items():
        yield HALVES, arm, {AGREEMENT: _agreement(halves.labels, test.labels, index)}


def _halves(data: ImageSet) -> ImageSet:
    return ImageSet.from_arrays(_pixels(data), data.labels // 5, ("0-4", "5-9"), id=data.ids)


def _pixels(data: ImageSet) -> NDArray[np.uint8]:
    return np.concatenate([image for _, image in data.stream(512)])


def _partitions(row: str, data: ImageSet, outputs: Outputs, number: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """The clusters of every arm; ``number`` is how many hidden groups a class has."""
    rng = numpy_rng(seed, row)
    own = George()(data, outputs, rng).index
    flat = _pixels(data).reshape(len(data), -1) / 255.0
    made = {"george": own, **{arm: np.zeros(len(data), dtype=np.int64) for arm in BASELINES}}
    for k in range(len(data.classes)):
        mine = np.flatnonzero(data.labels == k)
        made["k-means of pixels"][mine] = 100 * k + _kmeans(flat[mine], len(np.unique(own[mine])), rng)
        made["k-means of pixels, true number"][mine] = 100 * k + _kmeans(flat[mine], number, rng)
        made["random, same sizes"][mine] = rng.permutation(own[mine])
    return made


def _kmeans(x: NDArray[np.float64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(number, n_init=5, random_state=draw_seed(rng) % 2**32).fit_predict(x), dtype=np.int64)


def _agreement(label: NDArray[np.int64], hidden: NDArray[np.int64], index: NDArray[np.int64]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(np.mean([adjusted_rand_score(hidden[label == k], index[label == k]) for k in np.unique(label)]))
