"""Evidence for `cincer`: asking for a clear margin flags wrong labels better than asking for any."""

from __future__ import annotations

from collections.abc import Iterator

from kintsugi.audit.labels.cincer import Cincer
from kintsugi.core.errors import one_of
from kintsugi.prove.label_arms import Marks, marks_of
from kintsugi.prove.label_cells import NoisyCell
from kintsugi.prove.label_detectors import detector_trial
from kintsugi.prove.label_scores import RULES
from kintsugi.prove.seeded import ByDataset


def trial(setting: str = "") -> ByDataset:
    """Beside the plain rules on the same held-out probabilities."""
    one_of("setting", setting, ("",))
    return detector_trial(
        "cincer",
        "cincer: F1 of wrong labels, beside plain rules on the same held-out probabilities, and chance",
        _arms,
        {"F1": RULES[:2]},
    )


def _arms(cell: NoisyCell) -> Iterator[tuple[str, Marks]]:
    yield "cincer", marks_of(Cincer(), cell)
