"""Evidence for `simifeat`: votes and ranks that agree flag wrong labels better than the vote of neighbours alone."""

from __future__ import annotations

from collections.abc import Iterator

from kintsugi.audit.labels.simifeat import SimiFeat
from kintsugi.core.errors import one_of
from kintsugi.prove.label_arms import Marks, marks_of
from kintsugi.prove.label_cells import NoisyCell
from kintsugi.prove.label_detectors import detector_trial
from kintsugi.prove.label_scores import RULES
from kintsugi.prove.seeded import ByDataset


def trial(setting: str = "") -> ByDataset:
    """Beside the vote of as many neighbours; its two parts are shown."""
    one_of("setting", setting, ("",))
    return detector_trial(
        "simifeat",
        "simifeat: F1 of wrong labels, beside the vote of the same neighbours, and chance",
        _arms,
        {"F1": RULES[2:]},
    )


def _arms(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    yield "simifeat", marks_of(SimiFeat(), cell)
    yield "votes alone (V)", marks_of(SimiFeat("v"), cell)
    yield "ranks alone (R)", marks_of(SimiFeat("r"), cell)
