"""Evidence for `fgsm`: it breaks far more digits than random signs of the same size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import torch_rng
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits, trained, whole
from kintsugi.prove.trial import Claim
from kintsugi.stress.attack.fgsm import FGSM

if TYPE_CHECKING:
    from kintsugi.core.run import Run

SIZES = (("linf", 0.05), ("linf", 0.1), ("linf", 0.15), ("l2", 0.8))


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    claims = [
        Claim(_row(norm, eps), "broken", "fgsm", ("random change",), margin=0.3 if eps > 0.05 else 0.0)
        for norm, eps in SIZES
    ]
    return Seeded(
        "fgsm",
        "fgsm: share of rightly classified digits it breaks, against a random change of the same size",
        tuple(claims),
        _measure,
        "scikit-learn's handwritten digits, 8 px, 1000 to train and 797 to test, cut anew for each seed; "
        "nothing was tuned",
        settings={"epochs": 12, "width": 16},
    )


def _row(norm: str, eps: float) -> str:
    return f"{norm}, eps {eps:g}"


def _measure(seed: int, run: Run) -> Measured:
    train, test = digits(seed)
    model, batch = trained(train, seed), whole(test)
    for norm, eps in SIZES:
        made = FGSM(norm)(model, batch, eps=eps, rng=torch_rng(seed, norm, str(eps)))
        yield _row(norm, eps), "fgsm", {"broken": made.rate, "clean accuracy": float(made.eligible.float().mean())}
        yield _row(norm, eps), "random change", {"broken": made.control_rate}
