"""The usual trial of a detector of wrong labels: real images, planted noise and people's labels, beside plain rules.

As AQuA's card has it, F1 of the wrong labels must lie above that of flagging nothing and of flagging as many at random
as are wrong, in every cell but asymmetric noise at 0.4, where neighbouring classes hide it. Beyond the card, over all
cells of a data set its mean must lie above the best plain rule that knows what the detector knows. Nothing was tuned on
these draws, which all detectors share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.labels.confident_learning import ConfidentLearning
from kintsugi.prove.label_arms import NOTHING, RANDOM, Marks, chance, marks_of
from kintsugi.prove.label_cells import IMAGES, PENALTY, NoisyCell, drawn, every_cell, rows_of
from kintsugi.prove.label_scores import flag_scores, plain_rules
from kintsugi.prove.seeded import ByDataset, Measured
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

Arms = Callable[[NoisyCell], Iterable[tuple[str, Marks]]]
HARDEST = "asymmetric 0.4"
PEER = "confident_learning"
VOTERS = 10  # neighbours of the third rule
DATA = (
    "MNIST and Fashion-MNIST (2000 training images each, 50 principal components) and CIFAR-10 (1000 of the odd "
    "training rows, features of a SqueezeNet trained on ImageNet), drawn anew each seed; planted noise, and for "
    "CIFAR-10 the labels of CIFAR-10N; 5-fold logistic heads trained on the noisy labels"
)


def mean_of(dataset: str) -> str:
    """The row with the means over all cells of a data set."""
    return f"{dataset}, mean of all cells"


def detector_trial(
    name: str, title: str, arms: Arms, rivals: dict[str, tuple[str, ...]], *, settings: dict[str, Any] | None = None
) -> ByDataset:
    """The trial.

    Args:
        name: of the detector.
        title: what is shown, in one line.
        arms: flags and scores in a cell, of the detector and of whatever else is its own; a module's own function.
        rivals: by metric, the arms above the best of which the detector's mean must lie.
        settings: numbers worth recording.
    """
    rows = [row for dataset in IMAGES for row in rows_of(dataset)]
    chances = (NOTHING, RANDOM)
    claims = [
        Claim(mean_of(dataset), metric, name, against) for metric, against in rivals.items() for dataset in IMAGES
    ]
    claims += [Claim(row, "F1", name, chances, shown_only=row.endswith(HARDEST)) for row in rows]
    for metric in ("F1", "average precision"):
        claims += [Claim(mean_of(dataset), metric, name, (PEER,), shown_only=True) for dataset in IMAGES]
    how = {"C of the heads": PENALTY, "neighbours of the rule": VOTERS, **(settings or {})}
    return ByDataset(name, title, tuple(claims), partial(measured, arms), DATA, tuple(IMAGES), settings=how)


def measured(arms: Arms, dataset: str, seed: int, run: Run) -> Measured:
    """Every cell of a data set, and the means."""
    found: dict[str, list[dict[str, float]]] = {}
    cache = run.path("cache") if run.stored else None
    for cell in every_cell(drawn("label detectors", dataset, seed, IMAGES[dataset], cache=cache)):
        for arm, (flagged, score) in (*_common(cell), *arms(cell)):
            scores = {**flag_scores(flagged, score, cell.wrong), "flagged": float(flagged.mean())}
            found.setdefault(arm, []).append(scores)
            yield cell.row, arm, scores
    for arm, told in found.items():
        yield mean_of(dataset), arm, {metric: float(np.mean([each[metric] for each in told])) for metric in told[0]}


def _common(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    yield from chance(cell)
    features = cell.outputs.features
    assert features is not None
    yield from plain_rules(cell.data.labels, cell.outputs.prob, features, VOTERS).items()
    yield PEER, marks_of(ConfidentLearning(), cell)
