"""Evidence for `z_statistics`: it names planted shortcuts alone, a rare stamp among them, where a plain z does not.

With two classes and 89 values a plain z of 3 gives few false alarms: on a first deal of attributes the method was
ahead by 8 and 7 points, where 10 are asked for, and on a second one by 3 and 6. An attribute-wise Cramer's V does as
well here, and cannot say which value goes with which label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.audit.groups.group_gaps import tie
from kintsugi.audit.groups.z_statistics import ZStatistics
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import draw_seed, numpy_rng
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.ops.statistics import holm
from kintsugi.ops.z_statistics import z_statistics
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits, whole
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet

GROUND, STAMP, NOTHING = "a background that goes with the class", "a stamp on a few of one class", "nothing planted"
COLUMNS = {
    "hospital": 2,
    "ward": 4,
    "week": 12,
    "day": 31,
    "town": 40,
}  # attributes dealt at random, and how many values they have
DRAWS, CLUSTERS, IMAGES = 20, 4, 400
PLAIN, TIED, PROMISE, MOST = "z above 3", "attributes tied to the label", "nine in ten", "four in five"


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "z_statistics",
        "z_statistics: share of data sets in which what was planted is flagged, nothing else is, and both at once",
        (
            Claim(GROUND, "right", "z_statistics", (PLAIN,), margin=0.1),
            Claim(GROUND, "found", "z_statistics", (MOST,)),
            Claim(STAMP, "right", "z_statistics", (PLAIN,), margin=0.2),
            Claim(STAMP, "found", "z_statistics", (MOST,)),
            Claim(NOTHING, "no false alarm", "z_statistics", (PLAIN,), margin=0.1),
            Claim(NOTHING, "no false alarm", "z_statistics", (PROMISE,)),
            Claim(GROUND, "right", "z_statistics", (TIED,), shown_only=True),
            Claim(STAMP, "right", "z_statistics", (TIED,), shown_only=True),
            Claim(NOTHING, "no false alarm", "z_statistics", (TIED,), shown_only=True),
        ),
        _measure,
        f"digits on crops of photographs, {IMAGES} of two classes, of which a tenth has the other class's background; "
        f"the feature is which of {CLUSTERS} clusters an image's colours fall into, nobody names the background. And "
        "scikit-learn's handwritten digits, 1000 of ten classes: a stamp on 4% of all, nine in ten of them of "
        f"one class. Attributes are dealt anew {DRAWS} times for each seed. The method has its defaults; nothing was "
        "tuned",
        settings={"attributes and their values": COLUMNS, "tied": "corrected Cramer's V of 0.2, 5% by Holm"},
    )


def _measure(seed: int, run: Run | None) -> Measured:
    rng, world = numpy_rng(seed, "second deal"), DigitsOnPhotos()
    held: dict[tuple[str, str], list[tuple[bool, bool]]] = {}

    def add(row: str, data: ImageSet, planted: Iterable[str]) -> None:
        for arm, flagged in _flags(data, rng).items():
            true = [name for name in flagged if name.startswith(tuple(planted))]
            held.setdefault((row, arm), []).append((bool(true), len(flagged) > len(true)))

    for draw in range(DRAWS):
        for row, share in ((GROUND, 0.1), (NOTHING, 0.5)):
            made = world.mixed(IMAGES, share, "pool", draw_seed(rng) % 2**31)
            table = made.table.drop_columns(["background", "digit"])
            data = _dealt(type(made)(made.source, table, made.classes), rng)
            add(row, data.with_column("cluster", _clusters(made, rng)), ("cluster",) if row == GROUND else ())
        train, _ = digits(10_000 + 1000 * seed + draw)
        stamp = np.full(len(train), "none", dtype=object)
        k, count = int(rng.integers(10)), round(0.04 * len(train))
        mine, others = (rng.permutation(np.flatnonzero((train.labels == k) == own)) for own in (True, False))
        stamp[np.concatenate([mine[: round(0.9 * count)], others[: count - round(0.9 * count)]])] = "seen"
        add(STAMP, _dealt(train, rng).with_column("stamp", stamp.tolist()), ("stamp",))
    for (row, arm), audits in held.items():
        found, false = np.array(audits).T
        scores = {"no false alarm": float((~false).mean())}
        if row != NOTHING:
            scores |= {"found": float(found.mean()), "right": float((found & ~false).mean())}
        yield row, arm, scores
    for row in (GROUND, STAMP):
        yield row, MOST, {"found": 0.8}
    yield NOTHING, PROMISE, {"no false alarm": 0.9}


def _flags(data: ImageSet, rng: np.random.Generator) -> dict[str, list[str]]:
    """What each arm flags, every name beginning with the attribute's."""
    own = [row.ids[0] for row in ZStatistics()(data, None, rng).flagged]
    plain, tied, p_values = [], [], []
    for name in data.attributes:
        values, code = np.unique(data.column(name).astype(str), return_inverse=True)
        table = np.zeros((len(values), len(data.classes)), dtype=np.int64)
        np.add.at(table, (code, data.labels), 1)
        plain += [f"{name}={values[v]}" for v, _ in np.argwhere(z_statistics(table) > 3)]
        strength, p = tie(table, 400, rng)
        tied.append((name, strength >= 0.2))
        p_values.append(p)
    sure = holm(np.array(p_values)) < 0.05
    return {
        "z_statistics": own,
        PLAIN: plain,
        TIED: [name for (name, large), certain in zip(tied, sure, strict=True) if large and certain],
    }


def _dealt(data: ImageSet, rng: np.random.Generator) -> ImageSet:
    for name, values in COLUMNS.items():
        data = data.with_column(name, [f"{name} {k}" for k in rng.integers(values, size=len(data))])
    return data


def _clusters(data: ImageSet, rng: np.random.Generator) -> list[str]:
    """Clusters of the images' mean colours and their spreads: what can be had without naming a background."""
    from sklearn.cluster import KMeans

    image = whole(data).image.numpy()
    colours = np.concatenate([image.mean(axis=(2, 3)), image.std(axis=(2, 3))], axis=1)
    made = KMeans(CLUSTERS, n_init=3, random_state=draw_seed(rng) % 2**32).fit_predict(colours)
    return [f"cluster {k}" for k in made]
