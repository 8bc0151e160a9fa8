"""Evidence for `pgd`: it breaks more digits than one step of the same size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import torch_rng
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits, trained, whole
from kintsugi.prove.trial import Claim
from kintsugi.stress.attack.fgsm import FGSM
from kintsugi.stress.attack.pgd import PGD

if TYPE_CHECKING:
    from kintsugi.core.run import Run

SIZES = (("linf", 0.05), ("linf", 0.1), ("l2", 0.8))


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "pgd",
        "pgd: share of rightly classified digits it breaks, against fgsm and a random change of the same size",
        tuple(Claim(_row(norm, eps), "broken", "pgd", ("fgsm", "random change")) for norm, eps in SIZES),
        _measure,
        "scikit-learn's handwritten digits, 8 px, 1000 to train and 797 to test, cut anew for each seed; "
        "nothing was tuned",
        settings={"epochs": 12, "width": 16, "pgd": "its defaults: 10 steps of eps / 4, one random start"},
    )


def _row(norm: str, eps: float) -> str:
    return f"{norm}, eps {eps:g}"


def _measure(seed: int, run: Run) -> Measured:
    train, test = digits(seed)
    model, batch = trained(train, seed), whole(test)
    for norm, eps in SIZES:
        many, one = (
            attack(model, batch, eps=eps, rng=torch_rng(seed, norm, str(eps))) for attack in (PGD(norm), FGSM(norm))
        )
        yield _row(norm, eps), "pgd", {"broken": many.rate}
        yield _row(norm, eps), "fgsm", {"broken": one.rate}
        yield _row(norm, eps), "random change", {"broken": many.control_rate}
