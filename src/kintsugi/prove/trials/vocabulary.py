"""Evidence for `vocabulary`: gold questions find out raters who answer anything, and means become the others' alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.groups.vocabulary import Vocabulary, trusted_raters
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

RATERS, MEANS = "one rater in three answers anything", "what becomes of concepts"
OWN, NAIVE, ASKED = "vocabulary", "every rater counts", "as the card asks"
CONCEPTS, GOOD, RANDOM, GOLD, NOISE = 100, 20, 10, 12, 0.8
RUNS = 20


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "vocabulary: share of random raters found out and of the others kept; distance of the mean ratings from the "
        "truth; and share of concepts whose mean lies on the right side of 4",
        (
            Claim(RATERS, "found out", OWN, (ASKED,)),
            Claim(RATERS, "kept", OWN, (ASKED,)),
            Claim(MEANS, "minus error", OWN, (NAIVE,), margin=0.1),
            Claim(MEANS, "right", OWN, (NAIVE,), margin=0.05),
        ),
        _measure,
        f"no images: ratings are simulated, as in the card. {CONCEPTS} concepts of an imageability drawn from 1 to 5, "
        f"{GOOD} raters who err by {NOISE} and {RANDOM} who answer anything, {GOLD} gold questions of which two "
        f"answers in five are right; {RUNS} panels a seed",
    )


def _measure(seed: int, run: Run) -> Measured:
    rng, held = numpy_rng(seed, OWN), []
    names = [f"concept {i}" for i in range(CONCEPTS)]
    data = ImageSet.from_arrays(np.zeros((0, 2, 2), np.uint8), np.zeros(0, int), names)
    for _ in range(RUNS):
        truth = dict(zip(names, rng.uniform(1, 5, CONCEPTS), strict=True))
        gold = {f"gold {i}": ((4.0, 5.0) if i % 2 else (1.0, 2.0)) for i in range(GOLD)}
        asked = truth | {name: 4.7 if low == 4 else 1.3 for name, (low, _) in gold.items()}
        ratings = []
        for name, true in asked.items():
            said = np.clip(np.rint(rng.normal(true, NOISE, GOOD)), 1, 5)
            ratings += [(f"good {r}", name, float(value)) for r, value in enumerate(said)]
            ratings += [(f"random {r}", name, float(rng.integers(1, 6))) for r in range(RANDOM)]
        kept = trusted_raters(ratings, gold, Vocabulary().pass_share)
        row = [1 - sum(r.startswith("random") for r in kept) / RANDOM, sum(r.startswith("good") for r in kept) / GOOD]
        for questions in (gold, None):
            trusted = trusted_raters(ratings, questions, Vocabulary().pass_share)
            given: dict[str, list[float]] = {}
            for rater, name, value in ratings:
                if rater in trusted:
                    given.setdefault(name, []).append(value)
            means = {name: float(np.mean(given[name])) for name in names}
            row.append(float(np.mean([abs(means[name] - truth[name]) for name in names])))
            keep = Vocabulary().keep
            row.append(float(np.mean([(truth[name] < keep) == (means[name] < keep) for name in names])))
            found = Vocabulary(imageability=ratings, gold=questions)(data, None, rng)
            dropped = [finding.ids[0] for finding in found.flagged]
            row.append(float(np.mean([truth[name] < keep for name in dropped])))
        held.append(row)
    out, stay, error, right, sure, plain_error, plain_right, plain_sure = np.mean(held, axis=0)
    yield RATERS, OWN, {"found out": float(out), "kept": float(stay)}
    yield RATERS, ASKED, {"found out": 0.9, "kept": 0.9}
    yield MEANS, OWN, {"minus error": -float(error), "right": float(right), "rightly dropped": float(sure)}
    plain = {"minus error": -float(plain_error), "right": float(plain_right), "rightly dropped": float(plain_sure)}
    yield MEANS, NAIVE, plain
