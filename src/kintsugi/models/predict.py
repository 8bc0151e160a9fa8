"""What a model says of a whole data set, and two suspicions about it: mixed-up classes, and samples seen before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, require
from kintsugi.core.progress import task
from kintsugi.data.stream import none_read
from kintsugi.models.predictions import Predictions
from kintsugi.models.preprocess import decoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

TRAINED, UNSEEN = ("train", "training", "fit"), ("test", "val", "valid", "validation", "dev", "holdout", "hold-out")


def predict(
    model: Any,
    data: ImageSet,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    size: tuple[int, int] | None = None,
    features: bool = False,
    held_out: bool | None = None,
) -> Outputs:
    """Probabilities (and features) of every sample that can be read, in the data set's order.

    Args:
        model: a model, or a black box such as :class:`Predictions`.
        data: the image set; images that cannot be read are in ``data.problems`` and not among the outputs.
        batch_size: images at a time.
        device: where to run; None is where the model is. The model is put back afterwards.
        size: (height, width) to decode to; None takes what the model's preprocessing scales to.
        features: also keep the input of the last layer.
        held_out: whether the samples were unseen in training, if the caller knows.

    Raises:
        BadArgument: the model's classes are not the data's.
        BadData: nothing could be read, or the outputs are not finite.
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    if tuple(model.classes) != data.classes:
        raise BadArgument(
            f"The model answers in {len(model.classes)} classes ({', '.join(model.classes[:4])}...), "
            f"the data has {len(data.classes)} ({', '.join(data.classes[:4])}...).",
            "Open the model with data_classes=data.classes, or map it with with_classes.",
        )
    if isinstance(model, Predictions):
        return model.outputs(data)
    ids, probs, vectors = [], [], []
    with evaluating(model, device) as place, task("predict", len(data)) as tracker, torch.no_grad():
        for rows, image in batches(data, model, batch_size, size):
            given = as_images(image, place)
            if features:
                vector, logits = _both(model, given)
                vectors.append(vector.float().cpu().numpy())
            else:
                logits = model(given)
            probs.append(logits.double().softmax(1).float().cpu().numpy())
            ids += [data.ids[int(row)] for row in rows]
            tracker.advance(len(rows))
    if not ids:
        raise none_read(data)
    return Outputs(ids, np.concatenate(probs), np.concatenate(vectors) if features else None, held_out, source="model")


def _both(model: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if hasattr(model, "features_and_logits"):
        made: tuple[torch.Tensor, torch.Tensor] = model.features_and_logits(image)
        return made
    if not hasattr(model, "features"):
        raise BadArgument(f"{type(model).__name__} gives no features:", "use a torch model, or name an encoder.")
    return model.features(image), model(image)


def batches(
    data: ImageSet,
    model: Any,
    batch_size: int,
    size: tuple[int, int] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Stream (some rows of) a data set at the size a model scales to."""
    size, fit = decoding(model, data, size)
    order: Any = None if rows is None else [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return data.stream(batch_size, size=size, fit=fit, order=order)


def as_images(image: NDArray[np.uint8], device: torch.device | str) -> torch.Tensor:
    """uint8 ``[B, H, W, 3]`` to float ``[B, 3, H, W]`` in 0..1 on a device."""
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(0, 3, 1, 2).float() / 255


@contextmanager
def evaluating(model: Any, device: str | torch.device | None = None) -> Iterator[torch.device]:
    """A model in evaluation mode on a device; mode of every layer and place are as before afterwards."""
    if not isinstance(model, nn.Module):
        yield torch.device(device or "cpu")
        return
    first = next((tensor for tensor in (*model.parameters(), *model.buffers())), None)
    before = first.device if first is not None else torch.device("cpu")
    place = before if device is None else torch.device(device)
    modes = [(module, module.training) for module in model.modules()]
    model.to(place).eval()
    try:
        yield place
    finally:
        model.to(before)
        for module, mode in modes:
            module.training = mode


def chance_warning(outputs: Outputs, labels: NDArray[np.int64], classes: Sequence[str] | None = None) -> str | None:
    """A sentence when accuracy is no better than chance, which mostly means mixed-up classes or preprocessing.

    Chance is what the same predictions would reach if they had nothing to do with the labels; better is a one-sided
    binomial test at 1%. If another order of the classes would make the predictions right, the sentence says so.

    Args:
        outputs: what the model said.
        labels: int ``[N]``, in the order of the outputs, -1 where unknown.
        classes: names for the sentence.

    Returns:
        The sentence, or None when all is well or fewer than 20 labels are known.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import binomtest

    known = np.flatnonzero(labels >= 0)
    if len(known) < 20 or outputs.prob.shape[1] < 2:
        return None
    count = outputs.prob.shape[1]
    table = np.zeros((count, count), dtype=np.int64)  # predicted, labelled
    np.add.at(table, (outputs.predicted[known], labels[known]), 1)
    right, total = int(np.trace(table)), len(known)
    chance = float((table.sum(0) / total) @ (table.sum(1) / total))
    if chance < 1 and binomtest(right, total, chance, alternative="greater").pvalue < 0.01:
        return None
    sentence = (
        f"Accuracy is {right / total:.1%}, on {total} samples no better than chance ({chance:.1%}): "
        "the model's classes or its preprocessing may not fit the data."
    )
    row, column = linear_sum_assignment(-table)
    fitting = int(table[row, column].sum())
    moved = [(r, c) for r, c in zip(row, column, strict=True) if r != c and table[r, c]]
    if moved and fitting / total > max(0.5, 2 * right / total):
        r, c = max(moved, key=lambda pair: int(table[pair]))
        names = classes if classes is not None else [f"class {k}" for k in range(count)]
        sentence += (
            f" In another order of the classes it would be {fitting / total:.1%}: what it calls {names[r]} is mostly "
            f"labelled {names[c]}. Check --classes."
        )
    return sentence


def seen_in_training(
    outputs: Outputs, labels: NDArray[np.int64], split: Sequence[Any] | str | None = None
) -> tuple[bool | None, str]:
    """Whether the model was trained on these samples, and how one can tell.

    In this order: what the outputs say of themselves; accuracy on training against other splits; the split's name;
    near-perfect, near-certain answers. The last three are signs and no proof, and the sentence says so.

    Args:
        outputs: what the model said.
        labels: int ``[N]``, in the order of the outputs, -1 where unknown.
        split: the split of each sample, or the name of the one all are from.

    Returns:
        True (seen: label audits must not use these outputs), False, or None when nothing tells; and the reason.
    """
    if outputs.held_out is not None:
        return not outputs.held_out, "as stated with the outputs"
    known = labels >= 0
    right = outputs.predicted == labels
    names = [split] * len(labels) if isinstance(split, str) else list(split) if split is not None else []
    train = np.array([str(name).lower() in TRAINED for name in names], dtype=bool)
    unseen = np.array([str(name).lower() in UNSEEN for name in names], dtype=bool)
    if names and (known & train).sum() >= 20 and (known & unseen).sum() >= 20:
        here, there = right[known & train], right[known & unseen]
        gap = float(here.mean() - there.mean())
        pool = float(np.concatenate((here, there)).mean())
        spread = (pool * (1 - pool) * (1 / len(here) + 1 / len(there))) ** 0.5
        told = f"accuracy is {here.mean():.1%} on the training split and {there.mean():.1%} on the others"
        if gap > 0.02 and gap > 3 * spread:
            return True, f"{told}: the training split was probably seen"
        return None, f"{told}: no sign that it was seen, and no proof"
    if names and unseen.all():
        return False, f"the split is named {names[0]!r}"
    if known.sum() >= 50:
        share = float(right[known].mean())
        sure = float(outputs.prob[np.flatnonzero(known), labels[known]].mean())
        if share >= 0.995 and sure >= 0.98:
            return True, f"accuracy is {share:.1%} at a mean confidence of {sure:.1%}: the samples were probably seen"
        if names and train.all() and share >= 0.97:
            return True, f"the split is named {names[0]!r} and accuracy on it is {share:.1%}: it was probably seen"
    return None, "nothing tells whether the model was trained on these samples"
