"""Evidence for `label_quality_grid`: every detector finds wrong labels better than two baselines that look at nothing.

The card's small check: F1 of the wrong labels above flagging nothing and flagging at random at the true rate, for each
detector in every cell but asymmetric noise at 0.4. Here on real images, with people's labels beside the planted noise.
Shown: what the paper says, that SimiFeat and CINCER detect best and that dropping what is flagged often brings little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.prove.label_cells import DATASETS, PENALTY, row_of, rows_of
from kintsugi.prove.seeded import ByDataset, Measured
from kintsugi.prove.studies.label_quality_grid import DETECTORS, IMAGES, NOTHING, RANDOM, run_grid
from kintsugi.prove.studies.label_quality_grid import PEOPLE as ASKED
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

REAL = DATASETS[1:]
AFTER = "test F1 after dropping"
METRICS = ("F1", "average precision", "flagged", AFTER)
EVERY = "mean of all cells"


def trial(setting: str = "") -> ByDataset:
    """One setting: the whole grid."""
    one_of("setting", setting, ("",))
    claims = [
        Claim(row, "F1", detector, (NOTHING, RANDOM), shown_only=row.endswith("asymmetric 0.4"))
        for dataset in REAL
        for row in rows_of(dataset, ASKED)
        for detector in DETECTORS
    ]
    for dataset in REAL:
        mean = f"{dataset}, {EVERY}"
        for detector in DETECTORS:
            others = tuple(other for other in DETECTORS if other != detector)
            claims += [Claim(mean, metric, detector, others, shown_only=True) for metric in METRICS[:2]]
            claims.append(Claim(mean, AFTER, detector, (NOTHING,), shown_only=True))
    return ByDataset(
        "label_quality_grid",
        "label_quality_grid: F1 of wrong labels, detectors at their defaults beside flagging nothing and at random",
        tuple(claims),
        _measure,
        f"MNIST, Fashion-MNIST (50 principal components) and CIFAR-10 (odd training rows, features of a SqueezeNet "
        f"trained on ImageNet), {IMAGES} training images drawn anew each seed and 500 test images; planted noise, and "
        "for CIFAR-10 labels of CIFAR-10N; 5-fold logistic heads trained on the noisy labels. Nothing was tuned on "
        "these draws",
        REAL,
        settings={"C of the heads": PENALTY, "detectors": "their defaults"},
    )


def _measure(dataset: str, seed: int, run: Run) -> Measured:
    result = run_grid(run.path("grid") if run.stored else None, datasets=(dataset,), seeds=(seed,))
    told: dict[str, list[dict[str, float]]] = {}
    for cell in result["cells"]:
        scores = {metric: cell[metric] for metric in METRICS}
        told.setdefault(cell["detector"], []).append(scores)
        yield row_of(dataset, cell["noise"], cell["rate"]), cell["detector"], scores
    for arm, found in told.items():
        yield f"{dataset}, {EVERY}", arm, {name: float(np.mean([each[name] for each in found])) for name in METRICS}
