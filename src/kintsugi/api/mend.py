"""``mend``: audit, stress, discover, then repairs from the cheapest to the dearest; the best is proven once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kintsugi.api.rungs import Rung, ladder
from kintsugi.core.budget import BudgetSpent, check, within
from kintsugi.core.errors import BadArgument, BadData, MissingDependency, require
from kintsugi.core.files import read_json, write_json
from kintsugi.core.progress import task

if TYPE_CHECKING:
    from pathlib import Path

    from kintsugi.api.audit import Audit
    from kintsugi.api.case import Case
    from kintsugi.api.discover import Discovery
    from kintsugi.api.stress import Stress
    from kintsugi.core.verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Score:
    """A model on the selection part, in shares."""

    worst: float
    average: float


@dataclass(frozen=True)
class Tried:
    """A rung that was tried, or why it was not.

    Attributes:
        name: of the rung.
        seconds: its cost; 0 when not tried.
        score: on the selection part, None when not tried.
        chosen: whether it is the repair that was proven.
        note: why it was not tried, or what it did.
    """

    name: str
    seconds: float
    score: Score | None
    chosen: bool = False
    note: str = ""


@dataclass(frozen=True)
class Mended:
    """The outcome of the whole loop.

    Attributes:
        model: the chosen model; the one that came in, where no repair was better on the selection part.
        verdict: of the one comparison on the hold-out part; None where there was nothing to compare.
        tried: every rung with its cost and score.
        report: path of the report.
        notes: what the budget left out, in words.
    """

    model: Any
    verdict: Verdict | None
    tried: tuple[Tried, ...]
    audit: Audit
    stress: Stress | None
    discovery: Discovery | None
    report: Path
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "verdict": self.verdict.as_dict() if self.verdict else None,
            "tried": [asdict(rung) for rung in self.tried],
            "audit": self.audit.as_dict(),
            "stress": self.stress.as_dict() if self.stress else None,
            "discovery": self.discovery.as_dict() if self.discovery else None,
            "notes": list(self.notes),
            "report": str(self.report),
        }


def mend(
    case: Case,
    *,
    how: Any = None,
    start: str = "continue",
    budget: float | None = None,
    rungs: Sequence[str] | None = None,
    tolerance: float = 0.05,
    options: dict[str, dict[str, Any]] | None = None,
) -> Mended:
    """Run the whole loop in the case's folder; an interrupted run goes on where it stopped.

    Args:
        case: data, a trainable model, perhaps a teacher and a generator.
        how: training settings for the rungs that train.
        start: ``continue`` from the model's weights or ``fresh`` ones.
        budget: seconds for all of it; None for no bound. The audit and the final proof are always done whole. Stress
            and discovery get at most a quarter of what is left after the audit, each; a rung that would take longer
            than what is left is stopped, and goes on from there when the same is asked again with more.
        rungs: names of the rungs to try; None for all that can be.
        tolerance: how far the average may fall, in shares.
        options: more options by rung, such as ``{"config": {"images": 200}}``.
    """
    model, clock = case.need_model("training"), _Clock(budget)
    case.need_classes()
    require(budget is None or budget >= 0, "budget", budget, "seconds from 0, or None")
    require(0 <= tolerance <= 1, "tolerance", tolerance, "a share from 0 to 1")
    with case.run.locked():
        asked = {"start": start, "how": asdict(how) if how else None, "rungs": list(rungs or [])}
        case.run.start(case.config("mend", **asked, model=model.describe()))
        # Corrections must not depend on labels they are judged on: the other two parts are not audited here.
        audit = case.audit(data=case.parts.train)
        notes: list[str] = []
        quarter = clock.share(0.25)
        stressed = _looked("stress", notes, clock.share(1.0), lambda: case.stress(budget=quarter))
        found = _looked("discovery", notes, quarter, case.discover)
        before = _score(case, model)
        tried, models = [Tried("as it is", 0.0, before, note="the model that came in")], {"as it is": model}
        train = case.parts.train
        steps = ladder(case, audit, train, chosen=rungs)
        with task("repairs", len(steps)) as tracker:
            for rung in steps:
                tracker.advance(0, note=rung.name)
                if rung.obstacle:
                    tried.append(Tried(rung.name, 0.0, None, note=f"not tried: {rung.obstacle}"))
                elif clock.spent and not _record(case, rung).exists():
                    tried.append(Tried(rung.name, 0.0, None, note=f"not tried: {clock} was spent"))
                else:
                    more = (options or {}).get(rung.name, {})
                    model_now, result = _try(case, rung, train, how, start, more, clock)
                    tried.append(result)
                    if model_now is not None:
                        models[rung.name] = model_now
                    if rung.clean is not None and _better(result.score, before):
                        train = rung.clean(train)  # the dearer rungs stand on the cleaned data
                tracker.advance()
        best = _choose(tried, tolerance)
        tried = [replace(rung, chosen=rung.name == best) for rung in tried]
        verdict = None
        if best != "as it is":
            if others := _opened(case, best):
                notes.append(
                    f"The hold-out part was opened before, for {' and '.join(others)}, when there was less time: "
                    "with every look its interval promises less."
                )
            verdict = case.compare(model, models[best], tolerance=tolerance)
            case.run.save_weights(models[best].state_dict())
        page = case.run.path("report.html")
        mended = Mended(models[best], verdict, tuple(tried), audit, stressed, found, page, tuple(notes))
        write_json(case.run.path("mend.json"), mended.as_dict())
        from kintsugi.api.account import account

        account(case, mended).save(case.run)
    return mended


@dataclass
class _Clock:
    """How much of the budget is left; what an earlier, interrupted run spent on finished rungs counts."""

    budget: float | None
    earlier: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def __str__(self) -> str:
        return f"the budget of {self.budget:g} s"

    def share(self, of: float) -> float | None:
        """A share of the seconds left; None without a bound."""
        if self.budget is None:
            return None
        return of * max(0.0, self.budget - self.earlier - (time.perf_counter() - self.began))

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.share(1.0) == 0.0


def _score(case: Case, model: Any) -> Score:
    """Worst-group accuracy and average on the selection part."""
    data, outputs = case.ask(model, case.parts.select)
    right, groups = outputs.predicted == data.labels, case.groups(data)
    worst = min(float(right[groups.members(g)].mean()) for g in range(len(groups)))
    return Score(worst, float(right.mean()))


def _looked(what: str, notes: list[str], seconds: float | None, look: Callable[[], T]) -> T | None:
    """What was found, or None and a note where the time did not suffice."""
    try:
        with within(seconds):
            check()
            return look()
    except BudgetSpent:
        if seconds is None:  # somebody else's bound
            raise
    notes.append(f"No {what}: the budget did not suffice for it.")
    return None


def _try(
    case: Case, rung: Rung, train: Any, how: Any, start: str, options: dict[str, Any], clock: _Clock
) -> tuple[Any, Tried]:
    """Do one rung, or read what an earlier, interrupted run of it left; no model where it could not be done."""
    from kintsugi.training.fit import Diverged

    run, done = case.run.sub(f"rungs/{rung.name}"), _record(case, rung)
    if done.exists():
        model = case.model.copy()
        model.load_state_dict(run.load_weights())
        record = read_json(done)
        clock.earlier += record["seconds"]
        return model, Tried(rung.name, record["seconds"], Score(**record["score"]), note=record["note"])
    began = time.perf_counter()
    try:
        with within(clock.share(1.0)):
            model, note = rung.do(train, how, start, run, options)
            seconds, score = time.perf_counter() - began, _score(case, model)
    except BudgetSpent:
        if clock.budget is None:  # somebody else's bound
            raise
        return None, Tried(rung.name, time.perf_counter() - began, None, note=f"stopped: {clock} was spent")
    except (BadArgument, BadData, MissingDependency, Diverged) as error:  # this repair does not fit this data
        return None, Tried(rung.name, time.perf_counter() - began, None, note=f"could not be done: {error}")
    run.save_weights(model.state_dict())
    write_json(done, {"seconds": seconds, "score": asdict(score), "note": note})
    return model, Tried(rung.name, seconds, score, note=note)


def _record(case: Case, rung: Rung) -> Path:
    """Where a finished rung left what it cost and how it did."""
    return case.run.path(f"rungs/{rung.name}/tried.json")


def _opened(case: Case, repair: str) -> list[str]:
    """Record, before it is done, that the hold-out part is opened for a repair; the others it was opened for before."""
    path = case.run.path("holdout.json")
    names: list[str] = read_json(path)["opened for"] if path.exists() else []
    if repair not in names:
        write_json(path, {"opened for": [*names, repair]})
    return [name for name in names if name != repair]


def _better(score: Score | None, than: Score) -> bool:
    return score is not None and (score.worst, score.average) > (than.worst, than.average)


def _choose(tried: Sequence[Tried], tolerance: float) -> str:
    """Highest worst group among those whose average did not fall by more than the tolerance; ties to the cheapest."""
    first = tried[0].score
    assert first is not None
    allowed = [rung for rung in tried if rung.score is not None and rung.score.average >= first.average - tolerance]
    scores = np.array([(rung.score.worst, rung.score.average) for rung in allowed if rung.score])
    order = np.lexsort((-np.arange(len(allowed)), scores[:, 1], scores[:, 0]))  # rungs stand in order of cost
    return allowed[int(order[-1])].name
