"""Wrong labels planted in real images, features of them, and held-out answers: what label auditors are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as kept
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.label_noise import Labelled
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet

MNIST, FASHION = "mnist_20k_train_5k_test.npz", "fashion_mnist_full_60k_10k.npz"
CIFAR, WEIGHTS = "cifar10_10k_train_2k_test_with_cifar10n.npz", "imagenet_squeezenet1_1_torchvision_weights.npz"
DATASETS = ("digits", "mnist", "fashion", "cifar10")
COMPONENTS = 50
PENALTY = {"digits": 1.0, "mnist": 0.1, "fashion": 0.1, "cifar10": 0.003}  # C of the heads, by accuracy on other draws
PEOPLE = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")


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
    from kintsugi.training.crossval import cross_val_outputs

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
