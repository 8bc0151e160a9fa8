"""Evidence for `aum`: margins over a training tell wrong labels better than its losses and its answers.

The rivals are made of heads of the same kind with four strengths of the penalty, the best of which is chosen in
hindsight for every seed: the loss after the last epoch, the mean loss over the epochs, and flagging where the head's
class is another. Beside it stands the threshold that AQuA's code takes, the first percentile in place of the 99th.

The ranking is that of `AUM.judge`, of all samples. A first run of this trial took the scores of the findings, which
the flagged samples alone have: average precision was then level with the losses' on Fashion-MNIST (+0.004) and below
on CIFAR-10 (-0.014). On CIFAR-10 the best mean loss is that of the strongest penalty; stronger ones were not tried.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kintsugi.audit.labels.aum import AUM
from kintsugi.core.errors import one_of
from kintsugi.prove.label_arms import Marks
from kintsugi.prove.label_cells import NoisyCell
from kintsugi.prove.label_detectors import detector_trial
from kintsugi.prove.seeded import ByDataset
from kintsugi.training.logit_log import head_history

DECAYS = (0.03, 0.1, 0.3, 1.0)
LAST, MEAN, FIRST = "loss after the last epoch", "mean loss over the epochs", "aum, first percentile"


def trial(setting: str = "") -> ByDataset:
    """Beside losses of the same training."""
    one_of("setting", setting, ("",))
    last, mean = ([f"{arm}, decay {decay}" for decay in DECAYS] for arm in (LAST, MEAN))
    return detector_trial(
        "aum",
        "aum: average precision and F1 of wrong labels, beside losses and answers of the same training, and chance",
        _arms,
        {"average precision": (*last, *mean), "F1": (*last, FIRST)},
        settings={"decay of the heads": DECAYS, "losses": "flag where the head's class is another"},
    )


def _arms(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    plain, label, features = AUM(), cell.data.labels, cell.outputs.features
    assert features is not None
    # All samples are ranked, as they are by losses: findings are of the flagged alone.
    for arm, detector in (("aum", plain), (FIRST, AUM(percentile=1.0))):
        above, _ = detector.judge(features, label, len(cell.data.classes), cell.rng)
        yield arm, (above < 0, -above)
    for decay in DECAYS:
        how = {"epochs": plain.epochs, "lr": plain.lr, "decay": decay}
        told = head_history(features, label, cell.data.ids, len(cell.data.classes), **how, rng=cell.rng)
        other = told.logits().argmax(axis=1) != label
        losses = np.stack([told.losses(label, epoch) for epoch in range(len(told))])
        yield f"{LAST}, decay {decay}", (other, losses[-1].astype(np.float64))
        yield f"{MEAN}, decay {decay}", (other, losses.mean(axis=0).astype(np.float64))
