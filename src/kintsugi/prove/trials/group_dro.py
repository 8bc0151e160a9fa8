"""Evidence for `group_dro`: minimising the loss of the worst group lifts its accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.prove.rare_groups import METRIC, ROW, rare_groups_trial
from kintsugi.prove.trial import Claim
from kintsugi.prove.tuned import Try
from kintsugi.repair.objective.group_dro import GroupDRO
from kintsugi.repair.sampling.group_balanced import GroupBalanced

if TYPE_CHECKING:
    from kintsugi.prove.seeded import Seeded
    from kintsugi.training.settings import Training


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    return rare_groups_trial(
        "group_dro",
        "group_dro: accuracy of the worst group, beside the mean loss, also with groups drawn equally often",
        (
            Claim(ROW, METRIC, "group_dro", ("ERM",), margin=0.05),
            Claim(ROW, METRIC, "group_dro", ("group_balanced",), shown_only=True),
        ),
        _arms,
        setting,
    )


def _arms(how: Training) -> dict[str, Try]:
    return {
        "ERM": Try(how),
        "group_dro": Try(how, GroupDRO()),
        "group_balanced": Try(how, sampler=GroupBalanced()),
    }
