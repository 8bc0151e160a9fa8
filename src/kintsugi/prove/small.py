"""What trials on small real images share: scikit-learn's digits, cut anew for each seed, and nets trained on them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.predict import predict
from kintsugi.models.small import SmallCNN
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training


@cache
def _digits(side: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    raw: Any = load_digits()
    pixels = np.rint(raw.images / 16 * 255).astype(np.uint8)
    if side != 8:
        grown = [Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR) for one in pixels]
        pixels = np.stack([np.asarray(one) for one in grown])
    return pixels, raw.target


def digits(seed: int, *, side: int = 8, train: int = 1000) -> tuple[ImageSet, ImageSet]:
    """Handwritten digits in ten classes: ``train`` of the 1797 to train on, the rest to test on, by chance."""
    pixels, label = _digits(side)
    order = numpy_rng(seed, "digits").permutation(len(label))
    data = ImageSet.from_arrays(pixels, label, [str(k) for k in range(10)])
    return data.select(order[:train]), data.select(order[train:])


def redrawn_labels(data: ImageSet, share: float, rng: np.random.Generator) -> tuple[ImageSet, np.ndarray[Any, Any]]:
    """A share of the labels drawn anew from all classes, the true one too; and which are wrong, bool ``[N]``."""
    label, classes = data.labels, len(data.classes)
    drawn = np.where(rng.permutation(len(label)) < share * len(label), rng.integers(classes, size=len(label)), label)
    return data.relabel(drawn), drawn != label


def only(data: ImageSet, members: tuple[int, ...]) -> ImageSet:
    """The samples of some classes, in a data set that has no others."""
    kept = data.select(np.flatnonzero(np.isin(data.labels, members)))
    label = np.searchsorted(members, kept.labels)
    table = kept.table.set_column(kept.table.column_names.index("label"), "label", pa.array(label, pa.int64()))
    return ImageSet(kept.source, table, [data.classes[k] for k in members], rows=kept.rows)


def trained(data: ImageSet, seed: int, *, epochs: int = 12, width: int = 16, lr: float = 3e-3) -> TorchModel:
    """A small convolutional net trained on a data set, in evaluation mode, on the CPU."""
    net = SmallCNN(len(data.classes), width=width, rng=torch_rng(seed, "weights"))
    model = TorchModel(net, data.classes)
    fit(model, data, ERM(), how=Training(epochs=epochs, lr=lr, device="cpu"), rng=seed)
    return model


def whole(data: ImageSet) -> Batch:
    """All images of a small set as one batch."""
    (rows, pixels), *_ = data.stream(max(1, len(data)))
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    return Batch(image, torch.from_numpy(data.labels[rows]), torch.from_numpy(rows))


def accuracy(model: TorchModel, batch: Batch) -> float:
    """Share of right answers."""
    with torch.no_grad():
        return float((model(batch.image).argmax(1) == batch.label).float().mean())


def by_group(model: TorchModel, data: ImageSet, group: np.ndarray[Any, Any]) -> dict[str, float]:
    """Accuracy of the worst group, of the mean over groups, and over all; ``group`` is int ``[N]``, row for row."""
    right = predict(model, data, batch_size=512).predicted == data.labels
    each = [float(right[group == number].mean()) for number in np.unique(group)]
    return {"worst group": min(each), "mean of groups": float(np.mean(each)), "average": float(right.mean())}
