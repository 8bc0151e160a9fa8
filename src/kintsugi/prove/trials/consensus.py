"""Evidence for `consensus`: it reads the same votes better than their majority does, and asks for fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.protocol.consensus import aggregate
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Claim
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

    Ints = NDArray[np.int64]

ANY, ALIKE = "mistakes go to any class", "mistakes go to look-alikes"
OWN, MAJORITY, TABLES = "consensus", "majority of the votes", "a table a rater"
LESS, ASKED = "eight tenths of the majority's votes", "the target"
RATERS, VOTES, MOST, TARGET = 20, 3, 9, 0.95


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "consensus: share of images whose label is found from three votes each, precision of what is settled, and "
        "votes spent an image when only unsettled images get more",
        (
            Claim(ANY, "accuracy", OWN, (MAJORITY,), margin=0.01),
            Claim(ALIKE, "accuracy", OWN, (MAJORITY,)),
            *(Claim(row, "minus votes", OWN, (LESS,)) for row in (ANY, ALIKE)),
            Claim(ANY, "precision", OWN, (ASKED,)),
            Claim(ALIKE, "precision", OWN, (ASKED,), shown_only=True),  # raters who err alike, as its docstring warns
            *(Claim(row, "accuracy", OWN, (TABLES,), shown_only=True) for row in (ANY, ALIKE)),
        ),
        _measure,
        f"scikit-learn's handwritten digits, all 1797; {RATERS} simulated raters, right in 60 to 95% of cases; their "
        "mistakes go to any class, or to those a 5-fold logistic head on pixels takes the image for; votes are asked "
        f"for one a round, up to {MOST}, until an image is {TARGET:.0%} sure, and the majority gets as many an image "
        "as it needs to be right as often, level classes sharing the point; the look-alikes are ours, the rest is the "
        "card's. Shown: precision with look-alikes, which lay at 0.93 to 0.94 on seeds 100 and 101",
        seeds=8,
    )


def _measure(seed: int, run: Run) -> Measured:
    data, rng = ImageSet.concat(list(digits(seed))), numpy_rng(seed, "consensus")
    flat = np.concatenate([image for _, image in data.stream(len(data))])[..., 0].reshape(len(data), -1) / 255.0
    other = cross_val_outputs(flat, data.labels, data.ids, 10, rng=rng).prob.astype(np.float64) + 1e-6
    other[np.arange(len(data)), data.labels] = 0
    for row, weight in ((ANY, (other > 0).astype(float)), (ALIKE, other)):
        people, said = _votes(data.labels, weight, rng)
        item, rater, label = _flat(people, said, np.full(len(data), VOTES))
        posterior, _ = aggregate(item, rater, label, 10)
        tables, _ = aggregate(item, rater, label, 10, "confusion")
        taken, sure, right = _asked_for(people, said, data.labels)
        yield (
            row,
            OWN,
            {
                "accuracy": float((posterior.argmax(axis=1) == data.labels).mean()),
                "minus votes": -float(taken.mean()),
                "precision": float(right[sure].mean()),
                "settled": float(sure.mean()),
                "accuracy, asked for": float(right.mean()),
            },
        )
        yield row, TABLES, {"accuracy": float((tables.argmax(axis=1) == data.labels).mean())}
        curve = [_majority(said[:, :n], data.labels) for n in range(1, MOST + 1)]
        yield row, MAJORITY, {"accuracy": curve[VOTES - 1]}
        best = np.maximum.accumulate(curve)  # two votes are no better than one
        need = float(np.interp(right.mean(), best, np.arange(1, MOST + 1)))
        yield row, LESS, {"minus votes": -0.8 * need, "votes of the majority": need}
        yield row, ASKED, {"precision": TARGET}


def _votes(true: Ints, weight: NDArray[np.float64], rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Raters of each image in the order they are asked, and what they say, ``[images, MOST]`` each."""
    skill = rng.uniform(0.6, 0.95, RATERS)
    people = np.argsort(rng.random((len(true), RATERS)), axis=1)[:, :MOST]
    step = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    drawn = rng.random((len(true), MOST))
    wrong = (step[:, None, :] <= drawn[..., None]).sum(axis=2).clip(max=weight.shape[1] - 1)
    return people, np.where(rng.random(people.shape) < skill[people], true[:, None], wrong)


def _flat(people: Ints, said: Ints, count: Ints) -> tuple[Ints, Ints, Ints]:
    """The first ``count`` votes of each image, one row a vote."""
    item, place = np.nonzero(np.arange(MOST) < count[:, None])
    return item, people[item, place], said[item, place]


def _asked_for(people: Ints, said: Ints, true: Ints) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """Votes spent on each image when unsettled ones get one more a round, which are settled, and which right."""
    count = np.full(len(true), 2)
    while True:
        posterior, _ = aggregate(*_flat(people, said, count), 10)
        sure = posterior.max(axis=1) >= TARGET
        more = ~sure & (count < MOST)
        if not more.any():
            return count, sure, posterior.argmax(axis=1) == true
        count = count + more


def _majority(said: Ints, true: Ints) -> float:
    """How often the majority is right, the points shared among level classes."""
    counts = np.stack([(said == k).sum(axis=1) for k in range(10)], axis=1)
    top = counts == counts.max(axis=1, keepdims=True)
    return float((top[np.arange(len(true)), true] / top.sum(axis=1)).mean())
