"""The ladder of repairs, cheapest first, and what each needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kintsugi.api.cleaning import decide
from kintsugi.api.repair import repair
from kintsugi.core.decision import Decision
from kintsugi.core.errors import one_of
from kintsugi.data.apply import apply_decisions

if TYPE_CHECKING:
    from kintsugi.api.audit import Audit
    from kintsugi.api.case import Case
    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet

NAMES = ("clean", "last_layer", "group_balanced", "group_dro", "distill", "config")


@dataclass(frozen=True)
class Rung:
    """One repair of the ladder.

    Attributes:
        name: its name.
        do: ``(train, how, start, run, options) -> (model, note)``.
        obstacle: why it cannot be tried; empty when it can.
        clean: for a rung that mends the data: the mended data.
    """

    name: str
    do: Callable[[ImageSet, Any, str, Run, dict[str, Any]], tuple[Any, str]]
    obstacle: str = ""
    clean: Callable[[ImageSet], ImageSet] | None = None


def ladder(case: Case, audit: Audit, train: ImageSet, *, chosen: Sequence[str] | None = None) -> list[Rung]:
    """The rungs for a case, cheapest first.

    ``clean`` relabels and drops what the audit flagged, by rule; the decisions are written beside it. The rungs that
    balance groups take the case's attributes, or groups inferred on the training part where there are none.
    """
    for name in chosen or ():
        one_of("rungs", name, NAMES)
    decisions = decide(train, audit.flagged, "rule:mend")
    no_teacher = "" if case.teacher is not None else "it needs a teacher: name one with --teacher"
    no_generator = no_teacher or (
        "" if case.generator is not None else "it needs a generator: name one with --generator"
    )
    rungs = [
        Rung(
            "clean",
            partial(_clean, case, decisions),
            "" if decisions else "the audit flagged nothing in the training part",
            lambda data: apply_decisions(data, decisions)[0],
        ),
        Rung("last_layer", partial(_method, case, "last_layer", True)),
        Rung("group_balanced", partial(_method, case, "group_balanced", True)),
        Rung("group_dro", partial(_method, case, "group_dro", True)),
        Rung("distill", partial(_method, case, "distill", False), no_teacher),
        Rung("config", partial(_method, case, "config", False), no_generator),
    ]
    return [rung for rung in rungs if chosen is None or rung.name in chosen]


def _clean(
    case: Case, decisions: list[Decision], train: ImageSet, how: Any, start: str, run: Run, options: dict[str, Any]
) -> tuple[Any, str]:
    from kintsugi.core.decision import write_decisions

    path = run.path("decisions.jsonl")
    if not path.exists():
        write_decisions(path, decisions)
    cleaned, _ = apply_decisions(train, decisions)
    done = repair(case, "erm", data=cleaned, how=how, start=start, run=run, **options)
    relabelled = sum(decision.action == "relabel" for decision in decisions)
    return done.model, f"{relabelled} labels corrected and {len(train) - len(cleaned)} duplicates dropped, then trained"


def _method(
    case: Case, name: str, grouped: bool, train: ImageSet, how: Any, start: str, run: Run, options: dict[str, Any]
) -> tuple[Any, str]:
    done = repair(case, name, data=train, how=how, start=start, run=run, infer_groups=grouped, **options)
    return done.model, "; ".join(done.notes)
