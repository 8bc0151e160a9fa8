"""Evidence for `mixed_share`: a few added images of missing groups mend more when they fill half of every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.prove.rare_groups import METRIC, ROW, rare_groups_trial
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Try
from kintsugi.repair.sampling.mixed_share import MixedShare

if TYPE_CHECKING:
    from kintsugi.prove.seeded import Seeded
    from kintsugi.training.settings import Training


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part. The images of the rare groups are the added ones: 30 to 970."""
    return rare_groups_trial(
        "mixed_share",
        "mixed_share: accuracy of the worst group after adding 30 images of the missing groups to 970 others",
        (Claim(ROW, METRIC, "mixed_share", ("natural mixing",)),),
        _arms,
        setting,
    )


def _arms(how: Training) -> dict[str, Try]:
    return {
        "natural mixing": Try(how),
        "mixed_share": Try(how, sampler=MixedShare("origin", {"real": 0.5, "added": 0.5})),
    }
