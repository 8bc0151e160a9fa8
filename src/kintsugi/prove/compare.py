"""`compare`: two classifiers on the same samples, group by group, and a plain verdict: better, worse, or not proven.

The deciding number is the change of the worst group's accuracy, min_g after_g - min_g before_g. Its interval comes from
a paired bootstrap in which source images are resampled, not their renderings, and the minimum is chosen anew in every
draw. Two things the plain percentile interval gets wrong are mended here, both found by simulation:

- A minimum over noisy groups is too low, in the data and again in every draw. Where several groups tie before and one
  of them stays behind, the plain interval says "better" in 20 to 45 of 100 cases in which the worst group is as bad as
  it was. So the lower end asks for one group g that was worse before than everything is after: it is the highest of the
  lower ends of min_h after_h - before_g, over the groups g that were the worst in at least 1% of the draws, each at the
  level divided by their number. The upper end mirrors it. With one clear worst group this is the percentile interval.
- With four gains and no loss, no draw sees a loss and the change looks certain, where the exact test says p = 0.125. So
  the bootstrap adds to every group one image gained and one lost (the adjustment of Agresti and Min, 2005, for paired
  proportions); then interval and exact test agree about small groups.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require
from kintsugi.core.verdict import Effect, Verdict, listed
from kintsugi.ops.statistics import appearance, bootstrap_sums, holm, mcnemar, percentile_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.groups import Groups

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FEWEST = 6  # source images from which an exact McNemar test can reach p < 0.05 at all: 2 / 2**6 = 0.031
WORST, AVERAGE = "worst group", "average"


def compare(
    before: Outputs,
    after: Outputs,
    label: ArrayLike,
    groups: Groups | None = None,
    *,
    cluster: ArrayLike | None = None,
    tolerance: float = 0.05,
    draws: int = 2000,
    rng: np.random.Generator,
) -> Verdict:
    """Compare two classifiers' answers to the same samples.

    *Better*: the worst group's accuracy rose with a 95% interval clear of zero, and the average fell by no more than
    ``tolerance``. *Worse*: the worst group's accuracy fell with an interval clear of zero, or the average fell by more
    than ``tolerance`` with one. Otherwise *not proven*. Groups that got worse (exact McNemar, one vote a source image,
    Holm-corrected, p < 0.05) are named whatever the verdict.

    Args:
        before: what the first classifier said.
        after: what the second said of the same ids, in any order.
        label: class index of each sample in the order of ``before``, int64 ``[N]``; -1 (unknown) is left out.
        groups: partition of the same samples; None: each class is a group. Samples of unknown group count for the
            average only; groups of fewer than :data:`FEWEST` source images are shown but do not decide.
        cluster: what each sample comes from, ``[N]`` (source image, patient); None: each is its own.
        tolerance: loss of average accuracy that a better worst group may cost, in shares.
        draws: bootstrap draws.
        rng: drawn from.

    Raises:
        BadData: ids, classes or lengths disagree, or no label is known.
    """
    require(0.0 <= tolerance <= 1.0, "tolerance", tolerance, "a share from 0 to 1")
    require(draws >= 100, "draws", draws, "a whole number from 100")
    table = _table(before, after, np.asarray(label), groups, cluster)
    sums = _sums(table, draws, rng)
    size, right_before, right_after = np.moveaxis(sums.reshape(draws, -1, 3), 2, 0)
    drawn_before, drawn_after = (
        np.divide(right, size, out=np.full(size.shape, np.nan), where=size > 0) for right in (right_before, right_after)
    )
    effects = _effects(table, drawn_after - drawn_before)
    chosen = np.flatnonzero(table.sources >= FEWEST)
    worst = _worst(table, chosen, drawn_before[:, chosen], drawn_after[:, chosen]) if len(chosen) else None
    average = _average(table, (right_after - right_before).sum(axis=1) / size.sum(axis=1))
    word, decided = _word(worst, average, tolerance)
    lost = tuple(e.group for e in effects if e.p_value is not None and e.p_value < 0.05 and e.difference < 0)
    return Verdict(
        word=word,
        effect=decided.difference,
        interval=decided.interval,
        rule=_rule(table, decided, worst, average, tolerance, draws),
        worse=lost,
        groups=(*((worst,) if worst else ()), average, *effects),
    )


@dataclass(frozen=True)
class _Table:
    """Right or wrong, before and after, of every sample with a known label, and where it belongs."""

    before: NDArray[np.bool_]
    after: NDArray[np.bool_]
    group: Ints  # [N], number of groups where unknown: a last column that counts for the average only
    cluster: Ints  # [N]
    vote: Ints  # [N], number of the sample's (group, cluster): one vote a source image in each group
    voting: Ints  # [V], group of each vote
    names: tuple[str, ...]
    source: str
    unknown_label: int

    @property
    def size(self) -> Ints:
        """Samples of each group."""
        return np.bincount(self.group, minlength=len(self.names) + 1)[: len(self.names)].astype(np.int64)

    @property
    def sources(self) -> Ints:
        """Source images of each group."""
        return np.bincount(self.voting, minlength=len(self.names) + 1)[: len(self.names)].astype(np.int64)

    @property
    def unit(self) -> str:
        """What is resampled, in words."""
        return "samples" if len(self.group) == self.cluster.max() + 1 else "source images"

    def accuracy(self, right: NDArray[np.bool_]) -> Floats:
        """Accuracy of each group, NaN where it is empty."""
        hits = np.bincount(self.group, weights=right, minlength=len(self.names) + 1)[: len(self.names)]
        return np.divide(hits, self.size, out=np.full(len(self.names), np.nan), where=self.size > 0)


def _table(before: Outputs, after: Outputs, label: Any, groups: Groups | None, cluster: ArrayLike | None) -> _Table:
    place = _aligned(before, after)
    total, classes = before.prob.shape
    if after.prob.shape[1] != classes:
        raise BadData(
            f"before has {classes} classes and after has {after.prob.shape[1]}:", "map both to the data's classes."
        )
    members = label if groups is None else groups.index
    origin = np.arange(total) if cluster is None else np.asarray(cluster)
    for name, values in (("label", label), ("groups", members), ("cluster", origin)):
        if np.shape(values) != (total,):
            raise BadData(
                f"{name} has shape {np.shape(values)} for {total} samples:", "give one value a sample, in their order."
            )
    nameless = [row for row, value in enumerate(origin.tolist()) if value is None or value == "" or value != value]
    if nameless:
        raise BadData(
            f"cluster is missing for {len(nameless)} samples, first {before.id[nameless[0]]!r}:",
            "name each sample's source image.",
        )
    if not np.issubdtype(label.dtype, np.integer) or (label.size and not -1 <= label.min() <= label.max() < classes):
        raise BadData(
            f"label holds values outside -1..{classes - 1} (dtype {label.dtype}):", "give class indices of the outputs."
        )
    known = np.flatnonzero(label >= 0)
    if not len(known):
        raise BadData("No sample has a known label:", "accuracy cannot be compared without labels.")
    # In the order of the ids, so that the verdict does not depend on how a file happens to be sorted.
    known = known[np.argsort(np.asarray(before.id, dtype=str)[known], kind="stable")]
    names = tuple(f"class {k}" for k in range(classes)) if groups is None else groups.names
    group = members[known].astype(np.int64)
    group[group < 0] = len(names)
    number = appearance(origin[known])
    votes, vote = np.unique(group * (int(number.max()) + 1) + number, return_inverse=True)
    return _Table(
        before=(before.predicted == label)[known],
        after=(after.predicted[place] == label)[known],
        group=group,
        cluster=number,
        vote=vote,
        voting=votes // (int(number.max()) + 1),
        names=names,
        source="classes" if groups is None else groups.source,
        unknown_label=total - len(known),
    )


def _aligned(before: Outputs, after: Outputs) -> Ints:
    """Rows of ``after`` in the order of ``before``."""
    place = {name: row for row, name in enumerate(after.id)}
    for which, outputs, other in (("before", before, after), ("after", after, before)):
        missing = set(outputs.id) - set(other.id)
        if missing:
            raise BadData(
                f"{len(missing)} ids are only in {which!r}, first {min(missing)!r}:",
                "compare outputs on the same samples.",
            )
        if len(set(outputs.id)) != len(outputs.id):
            raise BadData(f"{which!r} names an id more than once:", "one row a sample is needed.")
    return np.array([place[name] for name in before.id], dtype=np.int64)


def _sums(table: _Table, draws: int, rng: np.random.Generator) -> Floats:
    """Draws of (samples, right before, right after) of every group, float ``[draws, 3 (G + 1)]``."""
    # A source image is the multiset of its renderings' outcomes; equal images are counted, not listed.
    outcome = 4 * table.group + 2 * table.before + table.after
    order = np.lexsort((outcome, table.cluster))
    starts = np.flatnonzero(np.diff(table.cluster[order], prepend=-1))
    images = Counter(tuple(part.tolist()) for part in np.split(outcome[order], starts[1:]))
    rows = np.zeros((len(images), len(table.names) + 1, 3))
    for row, outcomes in zip(rows, images, strict=True):
        for group, right in (divmod(value, 4) for value in outcomes):
            row[group] += (1, right >> 1, right & 1)
    held = np.flatnonzero(table.size)
    extra = np.zeros((2, len(held), *rows.shape[1:]))
    renderings = (table.size[held] / table.sources[held])[:, None]  # as many as the group's images have on average
    extra[0, np.arange(len(held)), held] = renderings * (1, 0, 1)  # gained
    extra[1, np.arange(len(held)), held] = renderings * (1, 1, 0)  # lost
    # The way of the first change comes first: exchanging before and after then exchanges the draws exactly.
    if table.before[np.argmax(table.before != table.after)]:
        extra = extra[::-1]
    every = np.concatenate([rows, *extra]).reshape(len(rows) + 2 * len(held), -1)
    return bootstrap_sums(every, draws, rng, count=[*images.values(), *[1] * (2 * len(held))])


def _worst(table: _Table, chosen: Ints, drawn_before: Floats, drawn_after: Floats) -> Effect:
    """Change of the lowest accuracy among the groups ``chosen``."""
    before, after = (float(table.accuracy(right)[chosen].min()) for right in (table.before, table.after))
    interval = (_lower_end(drawn_before, drawn_after), -_lower_end(drawn_after, drawn_before))
    return Effect(WORST, int(table.size[chosen].sum()), before, after, after - before, interval)


def _lower_end(low: Floats, high: Floats) -> float:
    """Lower end of min(high) - min(low), float ``[draws, G]`` both; NaN where a draw left a group empty."""
    filled = np.where(np.isnan(low), np.inf, low)
    times = np.bincount(filled.argmin(axis=1), minlength=low.shape[1])
    plausible = np.flatnonzero(times >= 0.01 * len(low))
    least = np.where(np.isnan(high), np.inf, high).min(axis=1)
    least[np.isinf(least)] = np.nan
    level = 1.0 - 0.05 / len(plausible)
    return max(percentile_interval(least - low[:, g], level)[0] for g in plausible)


def _average(table: _Table, drawn: Floats) -> Effect:
    before, after = float(table.before.mean()), float(table.after.mean())
    return Effect(AVERAGE, len(table.before), before, after, after - before, percentile_interval(drawn))


def _effects(table: _Table, drawn: Floats) -> list[Effect]:
    """Every group that has samples, with one vote a source image in its exact test."""
    vote = np.sign(np.bincount(table.vote, weights=table.after.astype(float) - table.before))
    gained, lost = (
        np.bincount(table.voting, weights=vote == way, minlength=len(table.names) + 1)[: len(table.names)]
        for way in (1, -1)
    )
    held = np.flatnonzero(table.size)
    p_values = holm(mcnemar(gained[held], lost[held]))
    before, after = table.accuracy(table.before)[held], table.accuracy(table.after)[held]
    return [
        Effect(
            table.names[g],
            int(table.size[g]),
            float(b),
            float(a),
            float(a - b),
            percentile_interval(drawn[:, g]),
            float(p),
        )
        for g, b, a, p in zip(held, before, after, p_values, strict=True)
    ]


def _word(worst: Effect | None, average: Effect, tolerance: float) -> tuple[str, Effect]:
    """The verdict's word and the number that decided."""
    cost = average.difference < -tolerance
    if worst is not None and worst.interval[1] < 0:
        return "worse", worst
    if cost and average.interval[1] < 0:
        return "worse", average
    if worst is None:
        return "not proven", average
    return ("better" if worst.interval[0] > 0 and not cost else "not proven"), worst


def _rule(table: _Table, decided: Effect, worst: Effect | None, average: Effect, tolerance: float, draws: int) -> str:
    """What decided, in words, and every reservation a reader must know."""
    number = (
        "the change of the worst group's accuracy, the worst group chosen anew in every draw"
        if decided is worst
        else "the change of the average accuracy"
    )
    change = f"{100 * average.difference:+.1f} points, where at most {100 * tolerance:g} may be lost"
    parts = [
        f"Decided by {number}: 95% interval of {draws} paired bootstrap draws over {table.unit}, against zero",
        f"average over samples {change}",
        "the groups are the classes" if table.source == "classes" else f"groups from {table.source}",
    ]
    small = [name for name, n in zip(table.names, table.sources, strict=True) if 0 < n < FEWEST]
    if small:
        parts.append(f"too small to decide (fewer than {FEWEST} {table.unit}): {listed(small)}")
    empty = [name for name, n in zip(table.names, table.sources, strict=True) if n == 0]
    if empty:
        parts.append(f"without samples here: {listed(empty)}")
    unknown = int((table.group == len(table.names)).sum())
    if unknown:
        parts.append(f"{unknown} samples of unknown group count for the average only")
    if table.unknown_label:
        parts.append(f"{table.unknown_label} samples of unknown label left out")
    return "; ".join(parts) + "."
