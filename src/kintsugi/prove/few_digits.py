"""Cuts of scikit-learn's digits for trials of training methods: few to train on, some to choose by, 797 to test on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from kintsugi.prove.small import accuracy, digits, whole
from kintsugi.prove.tuned import Parts
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet
    from kintsugi.models.base import TorchModel

METRIC = "accuracy"
RATES = (3e-3, 1e-2)
VALID = 300  # of the thousand digits that are not for testing


def parts_of(seed: int, part: str, train: int) -> tuple[Parts, ImageSet]:
    """``train`` digits, 300 to choose by, and the part to measure on; and the digits that are left."""
    known, test = digits(seed)
    rest = len(known) - VALID
    valid = known.select(range(rest, len(known)))
    parts = Parts(known.select(range(train)), valid, valid if part == "valid" else test)
    return parts, known.select(range(train, rest))


def rates(steps: int) -> list[Training]:
    """The tries of arms that are tuned by step size."""
    return [settings(steps, lr) for lr in RATES]


def settings(steps: int, lr: float = RATES[0]) -> Training:
    """How every arm trains; the first step size did best for plain training on 100 digits (seeds 100 to 102)."""
    return Training(steps=steps, lr=lr, weight_decay=1e-3, device="cpu")


def scores(model: TorchModel, data: ImageSet) -> dict[str, float]:
    """Accuracy and mean negative log likelihood."""
    batch = whole(data)
    with torch.no_grad():
        surprise = functional.cross_entropy(model(batch.image), batch.label)
    return {METRIC: accuracy(model, batch), "negative log likelihood": float(surprise)}
