"""Evidence for `continuation`: training comes down to the computed floor, and what remains are the double labels."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.core.run import Run
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.predict import predict
from kintsugi.models.seeded import seeded
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim
from kintsugi.recipes.continuation import Continuation
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

DIGITS = "mnist_20k_train_5k_test.npz"
ROW, PLAIN = "MNIST, 20 pictures with two labels", "plain training, as many steps"
IMAGES, DOUBLES, HIDDEN, FIRST = 600, 20, 16, 200
RECALL, BEYOND = "recall of double labels in the residual", "minus errors beyond the floor"


def trial(setting: str = "") -> Seeded:
    """A narrow net on MNIST's digits, twenty of them twice under two labels."""
    one_of("setting", setting, ("",))
    return Seeded(
        "continuation",
        "continuation: training errors beyond the floor that double labels set, and how many of these are the residual",
        (
            Claim(ROW, RECALL, "continuation", ("0.9 of them",)),
            Claim(ROW, BEYOND, "continuation", ("3 errors more",)),
            Claim(ROW, RECALL, "continuation", (PLAIN,), shown_only=True),
            Claim(ROW, BEYOND, "continuation", (PLAIN,), shown_only=True),
        ),
        _measure,
        f"{IMAGES} training images of MNIST, drawn for each seed, {DOUBLES} of them once more under another label; "
        f"a net of {HIDDEN} hidden units, {FIRST} plain steps before; test accuracy on 1000 others, for the record: no "
        "advantage over plain training is claimed or expected (the card). Nothing was tuned",
        settings={"method": "finest 0.01, else its defaults"},
    )


class Narrow(nn.Module):
    """784-16-10 on one channel."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        with seeded(rng):
            self.first, self.last = nn.Linear(784, HIDDEN), nn.Linear(HIDDEN, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images ``[B, 1 or 3, 28, 28]`` to logits ``[B, 10]``."""
        return self.last(torch.tanh(self.first(image[:, 0].flatten(1))))


def _measure(seed: int, run: Run) -> Measured:
    with np.load(given_file(DIGITS)) as held:
        rng = numpy_rng(seed, "mnist")
        rows = rng.permutation(len(held["x_train"]))[:IMAGES]
        image, label = held["x_train"][rows], held["y_train"][rows].astype(np.int64)
        names = [str(k) for k in range(10)]
        test = ImageSet.from_arrays(held["x_test"][:1000], held["y_test"][:1000].astype(np.int64), names)
    other = (label[:DOUBLES] + rng.integers(1, 10, DOUBLES)) % 10
    data = ImageSet.from_arrays(np.concatenate([image, image[:DOUBLES]]), np.concatenate([label, other]), names)
    how = partial(Training, batch_size=len(data), lr=0.1, optimizer="sgd", schedule="constant", device="cpu")
    model, kept = TorchModel(Narrow(torch_rng(seed)), names), Run(None)
    Continuation(finest=0.01)(model, data, partial(fit, how=how(steps=FIRST)), seed, kept)
    last = kept.metrics()[-1]
    yield ROW, "continuation", _scored(model, data, test)
    plain = TorchModel(Narrow(torch_rng(seed)), names)
    fit(plain, data, ERM(), how=how(steps=FIRST + max(1, last["steps"])), rng=seed)
    yield ROW, PLAIN, _scored(plain, data, test)
    yield ROW, "0.9 of them", {RECALL: 0.9}
    yield ROW, "3 errors more", {BEYOND: -3.0}


def _scored(model: TorchModel, data: ImageSet, test: ImageSet) -> dict[str, float]:
    wrong = predict(model, data).predicted != data.labels
    pairs = np.stack([wrong[:DOUBLES], wrong[IMAGES:]])
    return {
        RECALL: float((pairs.sum(axis=0) >= 1).mean()),
        "precision of the residual": float(pairs.sum()) / max(1.0, float(wrong.sum())),
        BEYOND: -float(wrong.sum() - DOUBLES),
        "training accuracy": float(1 - wrong.mean()),
        "test accuracy": float((predict(model, test).predicted == test.labels).mean()),
    }
