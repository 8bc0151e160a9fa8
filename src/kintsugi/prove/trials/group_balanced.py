"""Evidence for `group_balanced`: drawing every group equally often lifts the worst one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.prove.rare_groups import METRIC, ROW, rare_groups_trial
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Try
from kintsugi.repair.sampling.group_balanced import GroupBalanced

if TYPE_CHECKING:
    from kintsugi.prove.seeded import Seeded
    from kintsugi.training.settings import Training


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    return rare_groups_trial(
        "group_balanced",
        "group_balanced: accuracy of the worst group, beside samples drawn alike",
        (Claim(ROW, METRIC, "group_balanced", ("ERM",)),),
        _arms,
        setting,
    )


def _arms(how: Training) -> dict[str, Try]:
    return {"ERM": Try(how), "group_balanced": Try(how, sampler=GroupBalanced())}
