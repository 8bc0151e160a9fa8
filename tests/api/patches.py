"""A small world with a hidden attribute: the class is the brightness of the left half, the place that of the right."""

import numpy as np

from kintsugi.api.case import Case
from kintsugi.data.imageset import ImageSet
from kintsugi.models.open import open_model
from kintsugi.training.settings import Training


def patches(count=200, seed=0):
    """Two classes and two places, crossed evenly; 40% train, 40% select, 20% hold out."""
    rng = np.random.default_rng(seed)
    label, place = rng.integers(0, 2, count), rng.integers(0, 2, count)
    image = rng.integers(0, 60, (count, 16, 16, 3))
    image[:, :, :8] += (90 * label)[:, None, None, None]
    image[:, :, 8:] += (180 * place)[:, None, None, None]
    names = np.array(["land", "sea"], dtype=object)[place]
    split = np.array(["train", "val", "test"], dtype=object)[np.arange(count) % 5 // 2]
    return ImageSet.from_arrays(image.astype(np.uint8), label, ("a", "b"), place=names, split=split)


def case_of(data, out, **options):
    """The data with a small model of fresh weights."""
    return Case(data, open_model("small:cnn", data_classes=data.classes, width=4), out=out, **options)


def quick(**settings):
    """Two steps of training."""
    return Training(**{"steps": 2, "batch_size": 8, "device": "cpu", **settings})
