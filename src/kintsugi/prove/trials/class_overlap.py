"""Evidence for `class_overlap`: one class under two names is found, and classes that are merely rare are left alone.

Rules on who is predicted do as well once their limit has been tuned on such data; what is proven is that the method
needs no limit to be tuned, whether the answers come from a weak or a strong predictor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.groups.class_overlap import ClassOverlap
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Claim
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.run import Run

    Ints = NDArray[np.int64]

TWO, RARE, NOTHING = "one digit under two names", "a rare digit", "nothing planted"
MEAN, EITHER, MOST, PROMISE = "mean confusion", "larger confusion", "four in five", "nine in ten"
COMPONENTS, DRAWS, FEW = (4, 6, 20), 6, 15
# Confusions from which a pair is flagged: of the most data sets right over the seeds 100 to 102.
LIMITS = {MEAN: 0.25, EITHER: 0.55}


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    rules = (MEAN, EITHER)
    return Seeded(
        "class_overlap",
        "class_overlap: share of data sets in which the doubled class is flagged, no other pair is, and both at once",
        (
            Claim(TWO, "found", "class_overlap", (MOST,)),
            Claim(TWO, "no false alarm", "class_overlap", (PROMISE,)),
            Claim(RARE, "no false alarm", "class_overlap", (PROMISE,)),
            Claim(NOTHING, "no false alarm", "class_overlap", (PROMISE,)),
            Claim("all", "right", "class_overlap", rules, shown_only=True),
            Claim(TWO, "right", "class_overlap", rules, shown_only=True),
            Claim(RARE, "no false alarm", "class_overlap", rules, shown_only=True),
        ),
        _measure,
        "scikit-learn's handwritten digits, 1797 in ten classes; 5-fold logistic heads on pixels squeezed to their "
        f"{COMPONENTS} principal components in turn (81, 86 and 95% right). A digit drawn for each data set goes by "
        f"two names, the second for 20 to 50% of it, or has {FEW} samples left; {DRAWS} data sets a row and seed. The "
        "method has its defaults; the confusions that the rules flag from are the best of seeds 100 to 102, where the "
        "method was looked at too",
        settings={"limits of the rules": LIMITS, "components": COMPONENTS},
    )


def _measure(seed: int, run: Run | None) -> Measured:
    held: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    for row, draw in ((row, draw) for row in (TWO, RARE, NOTHING) for draw in range(DRAWS)):
        data, outputs, doubled = _made(row, COMPONENTS[draw % 3], numpy_rng(seed, row, draw))
        own = [row.ids for row in ClassOverlap()(data, outputs, numpy_rng(seed, "audit")).flagged]
        flags = {"class_overlap": {(data.classes.index(a), data.classes.index(b)) for a, b in own}}
        flags |= {rule: _confused(data.labels, outputs.predicted, rule, limit) for rule, limit in LIMITS.items()}
        for arm, pairs in flags.items():
            held.setdefault((row, arm), []).append((doubled in pairs, bool(pairs - {doubled})))
    for arm in ("class_overlap", *LIMITS):
        right = []
        for row in (TWO, RARE, NOTHING):
            found, false = np.array(held[row, arm]).T
            right.append(float(((found | (row != TWO)) & ~false).mean()))
            scores = {"no false alarm": float((~false).mean()), "right": right[-1]}
            yield row, arm, {**scores, **({"found": float(found.mean())} if row == TWO else {})}
        yield "all", arm, {"right": float(np.mean(right))}
    yield TWO, MOST, {"found": 0.8}
    for row in (TWO, RARE, NOTHING):
        yield row, PROMISE, {"no false alarm": 0.9}


def _made(row: str, components: int, rng: np.random.Generator) -> tuple[ImageSet, Outputs, tuple[int, int] | None]:
    """The data, held-out answers, and the pair that is one class."""
    from sklearn.decomposition import PCA

    clean = ImageSet.concat(list(digits(int(rng.integers(2**31)))))
    flat = np.concatenate([image for _, image in clean.stream(len(clean))])[..., 0].reshape(len(clean), -1) / 255.0
    label, k, names = clean.labels.copy(), int(rng.integers(10)), list(clean.classes)
    kept, doubled = np.arange(len(clean)), None
    if row == TWO:
        share = rng.uniform(0.2, 0.5)
        label[(label == k) & (rng.random(len(label)) < share)] = 10
        names, doubled = [*names, "10"], (k, 10)
    elif row == RARE:
        mine = rng.permutation(np.flatnonzero(label == k))
        kept = np.setdiff1d(kept, mine[FEW:])
    data = ImageSet.from_arrays(np.zeros((len(kept), 1, 1), np.uint8), label[kept], names)
    features = PCA(components, svd_solver="full").fit_transform(flat)[kept]
    return data, cross_val_outputs(features, label[kept], data.ids, len(names), rng=rng), doubled


def _confused(label: Ints, predicted: Ints, rule: str, limit: float) -> set[tuple[int, int]]:
    """Pairs whose confusions in both directions reach a limit, in the mean or the larger of the two."""
    count = int(max(label.max(), predicted.max())) + 1
    table = np.zeros((count, count))
    np.add.at(table, (label, predicted), 1)
    rate = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    both = (rate + rate.T) / 2 if rule == MEAN else np.maximum(rate, rate.T)
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(both >= limit, 1))}
