"""``compare``: is the model after better than the model before, on samples neither has seen?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kintsugi.core.randomness import numpy_rng

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.core.verdict import Verdict
    from kintsugi.data.imageset import ImageSet


def compare_models(
    case: Case, before: Any, after: Any, *, data: ImageSet | None = None, tolerance: float = 0.05, draws: int = 2000
) -> Verdict:
    """Paired tests per group, and the verdict.

    Args:
        case: whose data, groups and cluster column decide.
        before: a model, or outputs already made.
        after: likewise.
        data: what to compare on; None for the hold-out part.
        tolerance: how far the average may fall, in shares.
        draws: bootstrap draws.
    """
    from kintsugi.core.batch import Outputs
    from kintsugi.prove.compare import compare

    part = data if data is not None else case.parts.holdout
    part = part.where(part.labels >= 0)
    sides = [side if isinstance(side, Outputs) else case.outputs(side, part) for side in (before, after)]
    cluster = part.column(case.cluster) if case.cluster else None
    return compare(
        *sides,
        part.labels,
        case.groups(part),
        cluster=cluster,
        tolerance=tolerance,
        draws=draws,
        rng=numpy_rng(case.seed, "compare"),
    )
