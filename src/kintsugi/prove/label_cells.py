"""Wrong labels planted in real images, features of them, and held-out answers: what label auditors are measured on.

`drawn` gives images of a data set with features; `planted` and `people_gave` give them labels and ask cross-validated
heads, which makes a cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache as kept
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.label_noise import Labelled, noise_model
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.training.crossval import cross_val_outputs

MNIST, FASHION = "mnist_20k_train_5k_test.npz", "fashion_mnist_full_60k_10k.npz"
CIFAR, WEIGHTS = "cifar10_10k_train_2k_test_with_cifar10n.npz", "imagenet_squeezenet1_1_torchvision_weights.npz"
DATASETS = ("digits", "mnist", "fashion", "cifar10")
IMAGES = {"mnist": 2000, "fashion": 2000, "cifar10": 1000}  # of a cell in the trials
COMPONENTS = 50
PENALTY = {"digits": 1.0, "mnist": 0.1, "fashion": 0.1, "cifar10": 0.003}  # C of the heads, by accuracy on other draws
NOISES = ("uniform", "asymmetric", "class_dependent", "instance_dependent")
RATES = (0.1, 0.4)
PEOPLE = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")


@dataclass(frozen=True)
class Drawn:
    """Images of a data set, drawn for a seed.

    Attributes:
        dataset: its name.
        seed: of the draw.
        rows: of the training part.
        data: the images with their true labels.
        features: of them, float32 ``[N, D]``.
        known: what noise models may look at.
        test: images of the test part with true labels.
        test_features: of these, in the same space.
    """

    dataset: str
    seed: int
    rows: NDArray[np.int64]
    data: ImageSet
    features: NDArray[np.float32]
    known: Labelled
    test: ImageSet
    test_features: NDArray[np.float32]


@dataclass(frozen=True)
class NoisyCell:
    """Drawn images with labels some of which are wrong.

    Attributes:
        row: the cell in words.
        data: the images with the given labels.
        wrong: which of these are not the true ones, bool ``[N]``.
        outputs: 5-fold heads on the features, trained on the given labels.
        rng: for whatever looks at the cell.
    """

    row: str
    data: ImageSet
    wrong: NDArray[np.bool_]
    outputs: Outputs
    rng: np.random.Generator


def drawn(study: str, dataset: str, seed: int, images: int, *, test: int = 0, cache: Path | None = None) -> Drawn:
    """Images of the training part, of CIFAR-10 of its odd rows: on even ones with people's labels much was tried."""
    rng = numpy_rng(seed, study, dataset)
    pool = np.arange(1, size_of(dataset, "train"), 2 if dataset == "cifar10" else 1)
    rows = rng.permutation(pool)[:images]
    data = images_of(dataset, "train", rows)
    held = images_of(dataset, "test", rng.permutation(size_of(dataset, "test"))[:test])
    features, *other = encoded(dataset, data, *([held] if test else []), cache=cache)
    known = known_of(dataset, data, features, seed)
    return Drawn(dataset, seed, rows, data, features, known, held, other[0] if other else features[:0])


def row_of(dataset: str, noise: str, rate: float) -> str:
    """A cell in words."""
    return f"{dataset}, people: {noise}" if noise in PEOPLE else f"{dataset}, {noise} {rate}"


def rows_of(dataset: str, people: Iterable[str] = PEOPLE) -> list[str]:
    """The cells of a data set: noise planted at two rates, and for CIFAR-10 people's labels."""
    rows = [row_of(dataset, noise, rate) for noise in NOISES for rate in RATES]
    return rows + [row_of(dataset, name, 0.0) for name in people if dataset == "cifar10"]


def every_cell(of: Drawn) -> Iterator[NoisyCell]:
    """The cells of :func:`rows_of`."""
    for noise in NOISES:
        yield from (planted(of, noise, rate) for rate in RATES)
    if of.dataset == "cifar10":
        yield from (people_gave(of, name) for name in PEOPLE)


def planted(of: Drawn, noise: str, rate: float) -> NoisyCell:
    """A cell with planted noise."""
    label = noise_model(noise, rate)(of.known, numpy_rng(of.seed, of.dataset, noise, str(rate)))
    return _asked(of, row_of(of.dataset, noise, rate), label)


def people_gave(of: Drawn, name: str) -> NoisyCell:
    """A cell with one of CIFAR-10N's sets of labels."""
    return _asked(of, row_of(of.dataset, name, 0.0), people_labels(of.rows)[name])


def _asked(of: Drawn, row: str, label: NDArray[np.int64]) -> NoisyCell:
    rng, ids = numpy_rng(of.seed, row, "heads"), [str(number) for number in range(len(label))]
    said = cross_val_outputs(of.features, label, ids, len(of.data.classes), rng=rng, C=PENALTY[of.dataset])
    outputs = Outputs(of.data.ids, said.prob, said.features, held_out=True, source=said.source)
    return NoisyCell(row, of.data.relabel(label), label != of.data.labels, outputs, rng)


def images_of(dataset: str, part: str, rows: NDArray[np.int64]) -> ImageSet:
    """Some images of the ``train`` or ``test`` part, by row, with their true labels."""
    image, label, names = _pixels(dataset, part)
    return ImageSet.from_arrays(image[rows], label[rows], names)


def size_of(dataset: str, part: str) -> int:
    """How many images a part has."""
    return len(_pixels(dataset, part)[1])


def people_labels(rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """The five sets of CIFAR-10N's labels for training images of CIFAR-10, by name."""
    with np.load(given_file(CIFAR)) as held:
        return {name: held[f"cifar10n_{name}"][rows].astype(np.int64) for name in PEOPLE}


def encoded(dataset: str, data: ImageSet, *others: ImageSet, cache: Path | None = None) -> list[NDArray[np.float32]]:
    """Features of a set, and of others in the same space: principal components of pixels, for photos those of a net.

    The net is a SqueezeNet trained on ImageNet at 128 px: one trained on CIFAR-10 would know the true classes. What it
    gives is kept in ``cache``.
    """
    if dataset == "cifar10":
        encoder = _squeezenet()
        from kintsugi.models.cache import embed

        return [embed(encoder, each, cache=cache, batch_size=100) for each in (data, *others)]
    from sklearn.decomposition import PCA

    flat = [_flat(each) for each in (data, *others)]
    turn = PCA(min(COMPONENTS, *flat[0].shape), svd_solver="full").fit(flat[0])
    return [turn.transform(each).astype(np.float32) for each in flat]


def known_of(dataset: str, data: ImageSet, features: NDArray[np.float32], seed: int) -> Labelled:
    """What noise models may look at: the features, and how a cross-validated head on them confuses the true classes."""
    rng, classes = numpy_rng(seed, dataset, "confusion"), len(data.classes)
    said = cross_val_outputs(features, data.labels, data.ids, classes, rng=rng, C=PENALTY[dataset]).predicted
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (data.labels, said), 1)
    return Labelled(data.labels, classes, features, confusion)


def _flat(data: ImageSet) -> NDArray[np.float64]:
    pixels = np.concatenate([image for _, image in data.stream(max(1, len(data)))])
    return np.asarray(pixels[..., 0].reshape(len(data), -1) / 255.0)


@kept
def _pixels(dataset: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[str]]:
    one_of("dataset", dataset, DATASETS)
    one_of("part", part, ("train", "test"))
    if dataset == "digits":
        from sklearn.datasets import load_digits

        raw: Any = load_digits()
        order = numpy_rng(0, "digits").permutation(len(raw.target))
        rows = order[:1200] if part == "train" else order[1200:]
        return np.rint(raw.images[rows] / 16 * 255).astype(np.uint8), raw.target[rows], [str(k) for k in range(10)]
    with np.load(given_file({"mnist": MNIST, "fashion": FASHION, "cifar10": CIFAR}[dataset])) as held:
        names = held["class_names"].tolist() if "class_names" in held.files else [str(k) for k in range(10)]
        return held[f"x_{part}"], held[f"y_{part}"].astype(np.int64), names


@kept
def _squeezenet() -> Any:
    from kintsugi.models.encoder import ModelEncoder
    from kintsugi.models.open import open_model
    from kintsugi.models.preprocess import Preprocess
    from kintsugi.models.small import IMAGENET_MEAN, IMAGENET_STD

    own = Preprocess(IMAGENET_MEAN, IMAGENET_STD, (128, 128), resize=128)
    model: Any = open_model("torchvision:squeezenet1_1", weights=given_file(WEIGHTS), preprocess=own)
    return ModelEncoder(model)
