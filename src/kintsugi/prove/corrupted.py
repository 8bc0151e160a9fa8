"""The trial of any corruption: does it cost a trained net accuracy, and the more the higher its severity?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kintsugi.core.kinds import Corruption
from kintsugi.core.randomness import torch_rng
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import accuracy, digits, trained, whole
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

ROW = "digits at 32 px"


def corruption_trial(name: str, make: Callable[[], Corruption]) -> Seeded:
    """Clean images are the control: they cost nothing, and their error has no order by severity (rank 0)."""
    claims = (
        Claim(ROW, "error", f"{name} 5", ("clean", f"{name} 1"), margin=0.05),
        Claim(ROW, "rank", f"{name} 5", ("clean",), margin=0.7),
    )
    return Seeded(
        name,
        f"{name}: the error of a net trained on clean digits rises with severity",
        claims,
        partial(_measure, name, make),
        "scikit-learn's handwritten digits enlarged to 32 px, 1000 to train and 797 to test, cut anew for each seed; "
        "the table of strengths for 224 px, as the card's own check has it; the net was fixed on another seed",
        settings={"rank": "Spearman correlation of severity 1..5 and error", "epochs": 12, "width": 16},
    )


def _measure(name: str, make: Callable[[], Corruption], seed: int, run: Run) -> Measured:
    from scipy.stats import spearmanr

    train, test = digits(seed, side=32)
    model, batch, method = trained(train, seed, epochs=12, width=16), whole(test), make()
    yield ROW, "clean", {"error": 1.0 - accuracy(model, batch), "rank": 0.0}
    errors = []
    for severity in range(1, 6):
        image = method(batch.image, severity, torch_rng(seed, name, severity))
        errors.append(1.0 - accuracy(model, batch.replace(image=image)))
    rank = float(spearmanr(range(5), errors).statistic) if len(set(errors)) > 1 else 0.0
    for severity, error in enumerate(errors, start=1):
        yield ROW, f"{name} {severity}", {"error": error, "rank": rank}
