"""Evidence for `dynamic_bootstrap`: with half of the labels redrawn it is 5 points above mixup at the end of training.

As the card has it: scikit-learn's digits, a small net, 60 epochs, warm-up for 25; noise draws a new class from all ten,
so that 50% leaves 45% wrong. All arms train to the end in the same way, from the same weights; the last epoch counts.
The learning rate is that of the house's other trials on digits, the same for all; nothing was tuned.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import accuracy, digits, redrawn_labels, whole
from kintsugi.prove.trial import Claim
from kintsugi.repair.augment.mixup import Mixup
from kintsugi.repair.objective.dynamic_bootstrap import DynamicBootstrap
from kintsugi.training.fit import fit
from kintsugi.training.hooks import Hook, Loop
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from kintsugi.core.run import Run

EPOCHS, WARMUP, WIDTH, RATE = 60, 25, 16, 3e-3
ROW = "half of the labels redrawn"


def trial(setting: str = "") -> Seeded:
    """One setting."""
    one_of("setting", setting, ("",))
    return Seeded(
        "dynamic_bootstrap",
        "dynamic_bootstrap: accuracy after the last epoch of nets trained on labels half of which were redrawn",
        (
            Claim(ROW, "accuracy", "M-DYR-H", ("mixup", "cross-entropy"), 0.05),
            Claim(ROW, "AUROC of w", "M-DYR-H", ("0.95",)),
            Claim(ROW, "accuracy", "M-DYR-S", ("mixup", "cross-entropy"), 0.05, shown_only=True),
        ),
        partial(_measure, 0.5),
        "scikit-learn's digits, 8 px: 1000 to train with redrawn labels, 797 to test, cut anew for each seed",
        seeds=3,
        settings={"epochs": EPOCHS, "warm-up": WARMUP, "width": WIDTH, "lr": RATE},
    )


def _measure(share: float, seed: int, run: Run) -> Measured:
    for arm, scores in measured(seed, share, EPOCHS, WARMUP).items():
        yield ROW, arm, scores
    yield ROW, "0.95", {"AUROC of w": 0.95}


class _Switch(Hook):
    """Ranks labels by w when warm-up ends, and remembers the area under the curve."""

    def __init__(self, wrong: np.ndarray[Any, Any], warmup: int) -> None:
        self.wrong, self.warmup, self.area = wrong, warmup, float("nan")

    def on_epoch(self, loop: Loop) -> None:
        from sklearn.metrics import roc_auc_score

        if loop.epoch + 1 == self.warmup:
            objective: Any = loop.objective
            score = objective._wrong(objective.loss_of).cpu().numpy()  # noqa: SLF001 - what is measured
            self.area = float(roc_auc_score(self.wrong, score))


def measured(seed: int, share: float, epochs: int, warmup: int) -> dict[str, dict[str, float]]:
    """Scores of each arm: accuracy on true labels after the last epoch, and of w at the switch."""
    train, test = digits(seed)
    noisy, wrong = redrawn_labels(train, share, numpy_rng(seed, "redrawn"))
    batch = whole(test)
    how = Training(epochs=epochs, batch_size=64, lr=RATE, device="cpu")
    found = {}
    for arm, objective, augment in (
        ("cross-entropy", ERM(), None),
        ("mixup", ERM(), Mixup(32.0)),
        ("M-DYR-H", DynamicBootstrap("hard", warmup, epochs), None),
        ("M-DYR-S", DynamicBootstrap("soft", warmup, epochs), None),
    ):
        model = TorchModel(SmallCNN(10, width=WIDTH, rng=torch_rng(seed, "weights")), train.classes)
        hook = _Switch(wrong, warmup)
        fit(model, noisy, objective, how=how, augment=augment, hooks=[hook] if "DYR" in arm else [], rng=seed)
        found[arm] = {"accuracy": accuracy(model, batch)} | ({"AUROC of w": hook.area} if "DYR" in arm else {})
    return found
