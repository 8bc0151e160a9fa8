"""``compare``: is the model after better than the model before, on samples neither has seen?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadData, require
from kintsugi.core.randomness import numpy_rng

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.core.verdict import Verdict
    from kintsugi.data.imageset import ImageSet


def compare_models(
    case: Case,
    before: Any,
    after: Any,
    *,
    data: ImageSet | None = None,
    tolerance: float = 0.05,
    draws: int = 2000,
    save: bool = False,
) -> Verdict:
    """Paired tests per group, and the verdict.

    Args:
        case: whose data, groups and cluster column decide.
        before: a model, or a black box such as a predictions file; opened or by name.
        after: likewise.
        data: what to compare on; None for the hold-out part.
        tolerance: how far the average may fall, in shares.
        draws: bootstrap draws.
        save: write ``report.html`` into ``compare/`` of the case's folder.
    """
    from kintsugi.prove.compare import compare

    require(0 <= tolerance <= 1, "tolerance", tolerance, "a share from 0 to 1")
    before, after = (case.open(side) if isinstance(side, str | Path) else side for side in (before, after))
    whole = data if data is not None else case.parts.holdout
    (part, first), (other, second) = (case.ask(side, whole) for side in (before, after))
    if part.ids != other.ids:
        raise BadData(
            f"The two sides answered for {len(part)} and {len(other)} samples that are not the same.",
            "Give predictions of both for every sample of the hold-out part.",
        )
    cluster = part.column(case.cluster) if case.cluster else None
    verdict = compare(
        first,
        second,
        part.labels,
        case.groups(part),
        cluster=cluster,
        tolerance=tolerance,
        draws=draws,
        rng=numpy_rng(case.seed, "compare"),
    )
    if save:
        from kintsugi.api.account import compared

        which = "the hold-out part" if data is None else "the samples given"
        compared(case, verdict, f"{len(part)} labelled samples of {which} were answered by both.").save(
            case.run.sub("compare")
        )
    return verdict
