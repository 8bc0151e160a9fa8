"""Evidence for `beta_mixture`: w ranks wrong labels in the middle of a training, and its flags beat plain rules.

The first is the card's small check: scikit-learn's digits, half of the labels redrawn from all ten classes, a small net
warmed up with mixup for 25 epochs (the settings of `dynamic_bootstrap`'s trial), AUROC of w at least 0.95.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.labels.beta_mixture import BetaMixture
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN
from kintsugi.prove.label_arms import Marks, marks_of
from kintsugi.prove.label_cells import NoisyCell
from kintsugi.prove.label_detectors import detector_trial, measured
from kintsugi.prove.label_scores import RULES
from kintsugi.prove.seeded import ByDataset, Measured
from kintsugi.prove.small import digits, redrawn_labels
from kintsugi.prove.trial import Claim
from kintsugi.prove.trials.dynamic_bootstrap import RATE, ROW, WARMUP, WIDTH
from kintsugi.repair.augment.mixup import Mixup
from kintsugi.training.fit import fit
from kintsugi.training.logit_log import LogitLog
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from kintsugi.core.run import Run

AREA, FLOOR = "AUROC of w", "0.95"


def trial(setting: str = "") -> ByDataset:
    """On held-out losses beside plain rules, and on the log of a training."""
    one_of("setting", setting, ("",))
    made = detector_trial(
        "beta_mixture",
        "beta_mixture: AUROC of w in a training, and F1 of wrong labels, beside plain rules on the same outputs",
        _arms,
        {"F1": RULES[:2]},
        settings={"training": f"SmallCNN of width {WIDTH}, mixup 32, {WARMUP} epochs, lr {RATE}"},
    )
    return replace(
        made,
        claims=(Claim(ROW, AREA, "beta_mixture", (FLOOR,)), *made.claims),
        measure=_measure,
        data=f"scikit-learn's digits (1000, cut anew each seed); {made.data}",
        datasets=("digits", *made.datasets),
    )


def _measure(dataset: str, seed: int, run: Run) -> Measured:
    yield from _trained(seed) if dataset == "digits" else measured(_arms, dataset, seed, run)


def _arms(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    yield "beta_mixture", marks_of(BetaMixture(), cell)


def _trained(seed: int) -> Measured:
    from sklearn.metrics import roc_auc_score

    rng = numpy_rng(seed, "redrawn")
    noisy, wrong = redrawn_labels(digits(seed)[0], 0.5, rng)
    model = TorchModel(SmallCNN(10, width=WIDTH, rng=torch_rng(seed, "weights")), noisy.classes)
    log = LogitLog(noisy)
    how = Training(epochs=WARMUP, batch_size=64, lr=RATE, device="cpu")
    fit(model, noisy, ERM(), how=how, augment=Mixup(32.0), hooks=[log], rng=seed)
    # The outputs only name the samples: the losses are those of the log.
    outputs = Outputs(noisy.ids, np.full((len(noisy), 10), 0.1), held_out=False)
    findings = BetaMixture(history=log.history)(noisy, outputs, rng)
    yield ROW, "beta_mixture", {AREA: float(roc_auc_score(wrong, findings.scores(noisy.ids)))}
    yield ROW, "loss", {AREA: float(roc_auc_score(wrong, log.history.losses(noisy.labels)))}
    yield ROW, FLOOR, {AREA: 0.95}
