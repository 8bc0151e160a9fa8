"""Training methods beside each other, tuned alike: same data, net, first weights and number of tries for every arm.

Each arm trains in several ways and keeps the one that does best on the validation part; only that one is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import one_of, require
from kintsugi.core.randomness import torch_rng
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.training.fit import fit
from kintsugi.training.objective.base import Objective
from kintsugi.training.objective.erm import ERM

if TYPE_CHECKING:
    from kintsugi.core.kinds import Augment, Sampler
    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet
    from kintsugi.prove.trial import Claim
    from kintsugi.training.settings import Training

SETTINGS = ("", "validation")
OTHER_SEEDS = 100  # first seed of the validation setting


@dataclass(frozen=True)
class Try:
    """One way to train, see :func:`~kintsugi.training.fit.fit`; on other ``data`` than the arms beside it, if given."""

    how: Training
    objective: Objective = field(default_factory=ERM)
    sampler: Sampler | None = None
    augment: Augment | None = None
    data: ImageSet | None = None


@dataclass(frozen=True)
class Parts:
    """What the arms of one seed train on, choose on, and are tested on."""

    train: ImageSet
    valid: ImageSet
    test: ImageSet


Score = Callable[[TorchModel, "ImageSet"], dict[str, float]]


def compared(
    arms: Mapping[str, Sequence[Try]], parts: Parts, score: Score, metric: str, *, width: int, seed: int, run: Run
) -> Iterator[tuple[str, TorchModel]]:
    """The net of each arm that has the highest ``metric`` on the validation part, the first of equals.

    Args:
        arms: the tries of each arm, equally many.
        parts: of this seed.
        score: a model's scores on a data set.
        metric: the score to choose by.
        width: of the :class:`SmallCNN` that every try starts from.
        seed: of first weights and training.
        run: the scores of every try are logged there.
    """
    counts = {arm: len(tries) for arm, tries in arms.items()}
    require(len(set(counts.values())) == 1, "arms", counts, "as many tries for each")
    classes = parts.train.classes
    for arm, tries in arms.items():
        made = []
        for each in tries:
            model = TorchModel(SmallCNN(len(classes), width=width, rng=torch_rng(seed, "weights")), classes)
            data = parts.train if each.data is None else each.data
            fit(model, data, each.objective, how=each.how, sampler=each.sampler, augment=each.augment, rng=seed)
            made.append((score(model, parts.valid)[metric], model))
        values = [value for value, _ in made]
        run.log(seed=seed, arm=arm, **{f"validation {metric} of try {k}": value for k, value in enumerate(values)})
        yield arm, made[values.index(max(values))][1]


def tuned_trial(
    name: str,
    title: str,
    claims: Sequence[Claim],
    measure: Callable[[str, int, Run], Measured],
    data: str,
    setting: str,
    *,
    seeds: int = 5,
    settings: dict[str, Any] | None = None,
) -> Seeded:
    """A trial with two settings: the test, and ``validation``, which other seeds measure on the validation part.

    The second is where everything was fixed that is not chosen anew for every seed.

    Args:
        name: of the method.
        title: what is shown.
        claims: what must hold.
        measure: ``(part, seed, run)`` to the measured cells, part ``valid`` or ``test``; a module's own function.
        data: in words.
        setting: one of :data:`SETTINGS`.
        seeds: paired seeds by default.
        settings: numbers worth recording.
    """
    one_of("setting", setting, SETTINGS)
    return Seeded(
        name,
        title + (", validation part" if setting else ""),
        tuple(claims),
        partial(_seed, measure, setting),
        data,
        seeds,
        {**(settings or {}), "part": "validation" if setting else "test"},
    )


def _seed(measure: Callable[[str, int, Run], Measured], setting: str, seed: int, run: Run) -> Measured:
    return measure("valid", OTHER_SEEDS + seed, run) if setting else measure("test", seed, run)
