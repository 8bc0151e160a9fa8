"""How a classifier fares as the setting of an image becomes uncommon for its class.

Kattakinda and Feizi, "FOCUS: Familiar Objects in Common and Uncommon Settings", ICML 2022: a table says which values of
each attribute (time of day, weather, places) are uncommon for each class; u(x) counts the attributes with an uncommon
value, and accuracy is told by u, by attribute value and by class. The table is given, or learned: a value is uncommon
for a class where P(value | class) < ``tau``, among the class's images with a known value in the training part, if there
is one. An attribute may have several values at once (a list, or text joined by ``|``): one uncommon value suffices, and
the image counts in the row of each. "none" and missing values are neither common nor uncommon.

Classes are not spread alike over u, so accuracy is averaged within each class first, over the classes that have images
at both levels compared. A level is flagged where accuracy lies below that of u = 0 by ``drop`` or more and fewer than
``level`` of the deals that give each class's right answers to its images at random do so (Holm's correction over
levels). Mind the table: the paper's list for horses, copied, calls zebras horses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.statistics import holm, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="uncommon_settings",
    kind="auditor",
    title="accuracy as settings become uncommon for the class",
    paper="Kattakinda and Feizi. FOCUS: Familiar Objects in Common and Uncommon Settings. ICML 2022.",
    card=21,
    code="priyathamkat/focus",
    status="proven",
)
AttributeTable = Mapping[str, Mapping[str, Sequence[str]]]  # class name -> attribute -> its uncommon values
NONE = ("", "none", "nan")
FEWEST = 5  # known values of an attribute a class must have before any of them is called uncommon


@dataclass(frozen=True)
class UncommonSettings:
    """Accuracy by how uncommon the setting is.

    Args:
        attributes: columns; None for all with 2 to ``most_values`` values.
        table: uncommon values by class and attribute; None learns it.
        tau: share of a class below which a value is uncommon, when learning.
        drop: accuracy below that in common settings, in shares, from which a level is flagged, if significant.
        level: of significance, after correction.
        draws: deals.
        most_values: more values make a column an id and no attribute.
    """

    attributes: Sequence[str] | None = None
    table: AttributeTable | None = None
    tau: float = 0.1
    drop: float = 0.1
    level: float = 0.05
    draws: int = 1000
    most_values: int = 50

    def __post_init__(self) -> None:
        ok = self.attributes is None or not isinstance(self.attributes, str)
        require(ok, "attributes", self.attributes, "a list of column names")
        require(0 < self.tau < 1, "tau", self.tau, "a share between 0 and 1")
        require(0 < self.drop <= 1, "drop", self.drop, "a share above 0, to 1")
        require(0 < self.level < 1, "level", self.level, "a number between 0 and 1")
        require(self.draws >= 100, "draws", self.draws, "100 or more")
        require(self.most_values >= 2, "most_values", self.most_values, "2 or more")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit labelled samples; outputs, if given, must be those of the data, row for row."""
        if outputs is not None:
            require(list(outputs.id) == data.ids, "outputs", len(outputs.id), "outputs of this data, row for row")
        values = {name: [_values(v) for v in data.column(name)] for name in self._columns(data)}
        params = {n: getattr(self, n) for n in ("attributes", "tau", "drop", "level", "draws", "most_values")}
        if not values:
            note = "No column is an attribute: whether settings are uncommon cannot be told."
            return Findings.of([], CARD.name, params, Summary(None, None, None, (note,)))
        table = self.table if self.table is not None else learn_table(data, values, self.tau)
        self._check(data, table)
        odd = uncommonness(data, values, table)
        known = data.labels >= 0
        parts = [f"{int((known & (odd == u)).sum())} with u = {u}" for u in np.unique(odd[known])]
        notes = [f"Attributes: {', '.join(values)}. Images: {', '.join(parts) or 'none'}."]
        if self.table is None:
            notes.append(f"Uncommon values are those of under {self.tau:.0%} of a class; check them before use.")
        found = [] if self.table is not None else list(_told(table))
        if outputs is None:
            notes.append("Without a model's outputs it cannot be told how it fares in uncommon settings.")
        else:
            rows = np.flatnonzero(known)
            right = outputs.predicted[rows] == data.labels[rows]
            found += self._levels(data.labels[rows], right, odd[rows], rng)
            picked = {name: [held[row] for row in rows] for name, held in values.items()}
            found += _by_value(data.labels[rows], right, picked)
        return Findings.of(found, CARD.name, params, Summary(self.drop, None, None, tuple(notes)))

    def _columns(self, data: ImageSet) -> list[str]:
        if self.attributes is not None:
            return list(self.attributes)
        kept = []
        for name in data.attributes:
            seen = {one for value in data.column(name) for one in _values(value)}
            if 2 <= len(seen) <= min(self.most_values, max(2, len(data) // 5)):
                kept.append(name)
        return kept

    def _check(self, data: ImageSet, table: AttributeTable) -> None:
        for name, part in table.items():
            if name not in data.classes:
                raise BadArgument(f"table names the class {name!r}, which the data lacks:", "use the data's classes.")
            for attribute in part:
                if attribute not in data.columns:
                    raise BadArgument(f"table names the attribute {attribute!r}:", "use columns of the data.")

    def _levels(
        self, label: NDArray[np.int64], right: NDArray[np.bool_], odd: NDArray[np.int64], rng: np.random.Generator
    ) -> Iterator[Finding]:
        held = []
        for u in np.unique(odd[odd > 0]):
            made = _compared(label, right, odd == u, odd == 0, self.draws, rng)
            if made is not None:
                held.append((int(u), *made))
        corrected = holm(np.array([p for *_, p in held])).tolist()
        for (u, mine, rest, classes, p_one), p in zip(held, corrected, strict=True):
            gap = rest - mine
            why = f"u = {u}: {mine:.1%} right, {rest:.1%} in common settings (means over {classes} classes)"
            evidence = {
                "accuracy": mine,
                "common": rest,
                "count": int((odd == u).sum()),
                "p": float(p),
                "p_alone": p_one,
            }
            flagged = bool(gap >= self.drop and p < self.level)
            score = float(np.clip(gap, 0, 1))
            yield Finding("group", (f"u={u}",), score, flagged, "uncommon_setting", "collect", why, evidence)


def learn_table(data: ImageSet, values: Mapping[str, Sequence[Sequence[str]]], tau: float) -> AttributeTable:
    """Values that fewer than ``tau`` of a class's images have, by class and attribute.

    From the split ``train`` if there is one. Values that a class never has there are uncommon as well; a class with
    fewer than five known values has none that could be called so.
    """
    rows = np.flatnonzero(data.labels >= 0)
    if "split" in data.columns:
        train = rows[data.column("split")[rows].astype(str) == "train"]
        rows = train if len(train) else rows
    table: dict[str, dict[str, list[str]]] = {}
    for name, held in values.items():
        every = sorted({one for part in held for one in part})
        place = {one: i for i, one in enumerate(every)}
        count = np.zeros((len(data.classes), len(every)))
        total = np.zeros(len(data.classes))
        for row in rows.tolist():
            k = data.labels[row]
            total[k] += len(held[row]) > 0
            for one in held[row]:
                count[k, place[one]] += 1
        for k in np.flatnonzero(total >= FEWEST):
            rare = [one for one in every if count[k, place[one]] < tau * total[k]]
            if rare:
                table.setdefault(data.classes[k], {})[name] = rare
    return table


def uncommonness(
    data: ImageSet, values: Mapping[str, Sequence[Sequence[str]]], table: AttributeTable
) -> NDArray[np.int64]:
    """How many attributes of each image have an uncommon value for its class, int64 ``[N]``; 0 without a label."""
    odd = np.zeros(len(data), dtype=np.int64)
    for name, held in values.items():
        rare = [frozenset(table.get(k, {}).get(name, ())) for k in data.classes]
        odd += [label >= 0 and not rare[label].isdisjoint(part) for label, part in zip(data.labels, held, strict=True)]
    return odd


def _compared(
    label: NDArray[np.int64],
    right: NDArray[np.bool_],
    odd: NDArray[np.bool_],
    common: NDArray[np.bool_],
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, float, int, float] | None:
    """Mean over classes of accuracy in the odd and in the common images, number of classes, and a deal's p-value."""
    size = int(label.max(initial=-1)) + 1
    n, m = (np.bincount(label[part], minlength=size) for part in (odd, common))
    h, g = (np.bincount(label[part & right], minlength=size) for part in (odd, common))
    both = (n > 0) & (m > 0)
    if not both.any():
        return None
    n, m, h, g = n[both], m[both], h[both], g[both]
    seen = float((h / n - g / m).mean())
    total = h + g
    drawn = rng.hypergeometric(total, n + m - total, n, size=(draws, len(n)))
    again = (drawn / n - (total - drawn) / m).mean(axis=1)
    p = float((1 + (again <= seen + 1e-12).sum()) / (1 + draws))
    return float((h / n).mean()), float((g / m).mean()), int(both.sum()), p


def _told(table: AttributeTable) -> Iterator[Finding]:
    for k, part in table.items():
        for name, rare in part.items():
            why = f"{k}: uncommon values of {name} are {', '.join(rare[:20])}{' and more' if len(rare) > 20 else ''}"
            yield Finding("class", (k, name), 0.0, False, "uncommon_values", "collect", why, {"values": list(rare)})


def _by_value(
    label: NDArray[np.int64], right: NDArray[np.bool_], values: Mapping[str, Sequence[Sequence[str]]]
) -> Iterator[Finding]:
    """Accuracy on the images with each value, averaged within class first; those with none of an attribute aside."""
    for name, held in values.items():
        for one in sorted({value for part in held for value in part}):
            mine = np.array([one in part for part in held])
            n = np.bincount(label[mine])
            h = np.bincount(label[mine & right], minlength=len(n))
            value = float((h[n > 0] / n[n > 0]).mean())
            low, high = (float(end) for end in wilson(int(h.sum()), int(n.sum())))
            group = f"{name}={one}"
            why = f"{group}: {value:.1%} right (mean over {int((n > 0).sum())} classes), {int(n.sum())} images"
            evidence: dict[str, Any] = {"accuracy": value, "count": int(n.sum()), "of all images": [low, high]}
            yield Finding("group", (group,), 1 - value, False, "setting_accuracy", "review", why, evidence)


def _values(value: Any) -> tuple[str, ...]:
    """The values of one image, without those that say nothing."""
    if value is None:
        return ()
    parts = value if isinstance(value, list | tuple | np.ndarray) else str(value).split("|")
    return tuple(dict.fromkeys(text for part in parts if (text := str(part).strip()).lower() not in NONE))
