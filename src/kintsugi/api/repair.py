"""``repair``: one named method applied to the training part, whatever its kind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kintsugi.api.configure import build
from kintsugi.api.grouping import by_attributes, inferred
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.core.registry import Entry, find
from kintsugi.training.grouping import with_groups

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet

KINDS = ("objective", "sampler", "augment", "posthoc", "recipe")
STARTS = ("fresh", "continue")


@dataclass(frozen=True)
class Repaired:
    """A repaired model.

    Attributes:
        model: the new model; the case's own is untouched.
        method: name of the method.
        run: its folder, with weights and configuration.
        seconds: what it cost.
        notes: what had to be decided on the way, such as where groups came from.
    """

    model: Any
    method: str
    run: Run
    seconds: float
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"method": self.method, "run": str(self.run.dir), "seconds": self.seconds, "notes": list(self.notes)}


def repair(
    case: Case,
    with_: str,
    *,
    data: ImageSet | None = None,
    how: Any = None,
    start: str = "continue",
    run: Run | None = None,
    infer_groups: bool = False,
    **options: Any,
) -> Repaired:
    """Repair the case's model.

    Args:
        case: data, model, and the teacher or generator the method needs.
        with_: a method of one of the kinds objective, sampler, augment, posthoc, recipe.
        data: what to learn from; None for the training part.
        how: a :class:`kintsugi.training.fit.Training`; None for its defaults.
        start: ``continue`` from the model's weights, or ``fresh`` weights of the same network.
        run: folder; None for one named after the method in the case's.
        infer_groups: where no attributes are known, infer groups on the training part from the model's features.
        options: the method's own, see ``kintsugi methods NAME``.
    """
    from kintsugi.training.fit import Training, fit
    from kintsugi.training.objective.erm import ERM

    one_of("start", start, STARTS)
    entry = find(with_, KINDS)
    case.need_classes()
    train, notes = _training(case, data if data is not None else case.parts.train, entry, infer_groups)
    how = how or Training()
    run = run or case.run.sub(with_)
    model = case.need_model("training").copy()
    known = set(getattr(model, "notes", ()))
    if start == "fresh" and entry.card.kind != "posthoc":
        refresh(model, case.seed)
    method = build(entry, options, {"teacher": case.teacher, "generator": _generator(case, with_)})
    began = time.perf_counter()
    match entry.card.kind:
        case "objective":
            fit(model, train, method, how=how, rng=case.seed, run=run)
        case "sampler":
            fit(model, train, ERM(), how=how, sampler=method, rng=case.seed, run=run)
        case "augment":
            fit(model, train, ERM(), how=how, augment=method, rng=case.seed, run=run)
        case "posthoc":
            run.start({"work": with_, "seed": case.seed, "options": options, "model": model.describe()})
            model = method(model, train, numpy_rng(case.seed, "repair", with_))
            run.save_weights(model.state_dict())
        case "recipe":
            method(model, train, _with(fit, how), case.seed, run)
    notes += [note for note in getattr(model, "notes", ()) if note not in known]
    return Repaired(model, with_, run, time.perf_counter() - began, tuple(notes))


def _training(case: Case, data: ImageSet, entry: Entry, infer: bool) -> tuple[ImageSet, list[str]]:
    """The training part with a column of groups where they are known or to be inferred, and where they come from."""
    if "group" in data.columns or not (case.attributes or infer):
        return data, []
    if not case.attributes:
        grouped = inferred(case, data)
    elif "group labels" in entry.card.needs:  # such a method takes no sample of unknown group
        grouped = by_attributes(case, data)
    else:
        return with_groups(data, case.groups(data)), []
    return grouped.data, [grouped.note]


def _with(fit: Any, how: Any) -> Any:
    """The training loop with the case's settings, which a recipe may override."""

    def call(model: Any, data: ImageSet, objective: Any, **more: Any) -> Run:
        done: Run = fit(model, data, objective, **{"how": how, **more})
        return done

    return call


def _generator(case: Case, name: str) -> Any:
    """Opened only for methods that take one."""
    from kintsugi.core.registry import parameters

    return case.generator if "generator" in parameters(find(name).load()) else None


def refresh(model: Any, seed: int) -> None:
    """Draw the network's weights anew, in place, by its layers' own initialisation and the given seed."""
    import torch

    with torch.random.fork_rng():
        torch.set_rng_state(torch_rng(seed, "refresh").get_state())
        for layer in model.net.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
