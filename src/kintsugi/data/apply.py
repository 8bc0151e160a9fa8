"""Applying decisions: what people or rules decided about findings becomes a new view of the data, and can be undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.decision import Decision
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one sample.

    Attributes:
        id: the sample.
        action: ``relabel`` or ``drop``.
        before: its class name, empty where unknown.
        after: its new class name, several joined by ``|``; empty for ``drop``.
        finding: key of the finding decided on.
        reviewer: who decided.
    """

    id: str
    action: str
    before: str
    after: str
    finding: str
    reviewer: str


@dataclass(frozen=True)
class Patch:
    """The changes that decisions made, and the way back.

    Attributes:
        data: fingerprint of the data they were made on.
        changes: one a changed sample, in the data's order.
        overruled: keys of findings whose decision a later one, or a drop, made void for some sample.
    """

    data: str
    changes: tuple[Change, ...]
    overruled: tuple[str, ...] = ()
    _before: ImageSet | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "data": self.data,
            "changes": [asdict(change) for change in self.changes],
            "overruled": list(self.overruled),
        }

    @classmethod
    def parse(cls, record: Any, where: str, before: ImageSet) -> Patch:
        """A patch from its JSON record.

        Args:
            record: as :meth:`as_dict` gives it; more keys do no harm.
            where: the file's name in messages.
            before: the data it was made on.

        Raises:
            BadData: it is no patch, or was made on other data.
        """
        try:
            names = [each.name for each in fields(Change)]
            changes = tuple(Change(**{name: str(change[name]) for name in names}) for change in record["changes"])
            found = cls(str(record["data"]), changes, tuple(map(str, record.get("overruled", ()))), before)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadData(f"{where} is no patch ({error}).", "Name the patch.json beside a view.") from error
        if found.data != before.fingerprint:
            raise BadData(
                f"{where} was made on other data ({found.data} instead of {before.fingerprint}).",
                "Use the patch of this view.",
            )
        return found

    def undo(self, changed: ImageSet) -> ImageSet:
        """Take the changes back: labels and soft labels as they were, dropped samples in their old places.

        Columns added since stay; dropped samples have null there.

        Raises:
            BadData: ``changed`` is not what this patch made.
        """
        before = self._before
        if before is None or changed.source is not before.source:
            raise BadData("This patch belongs to other data.", "Undo it on the image set it was returned with.")
        dropped = {change.id for change in self.changes if change.action == "drop"}
        place = {name: number for number, name in enumerate(before.ids)}
        if any(name not in place or name in dropped for name in changed.ids):
            raise BadData("The data holds samples this patch never saw.", "Undo it before adding samples.")
        again = [place[name] for name in changed.ids]
        table = changed.table
        for name in ("label", "target"):
            if name in table.column_names:
                table = table.drop_columns([name])
            if name in before.columns:
                table = table.append_column(name, before.table.column(name).take(pa.array(again, pa.int64())))
        back = [number for number, name in enumerate(before.ids) if name in dropped]
        rows = np.concatenate([changed.rows, before.rows[back]])
        table = pa.concat_tables([table, before.table.take(pa.array(back, pa.int64()))], promote_options="permissive")
        table = table.select([*before.columns, *(name for name in table.column_names if name not in before.columns)])
        order = np.argsort(np.array([*again, *back], dtype=np.int64), kind="stable")
        return ImageSet(
            changed.source, table.take(pa.array(order)), changed.classes, rows=rows[order], problems=changed.problems
        )


def apply_decisions(data: ImageSet, decisions: Mapping[str, Decision] | Iterable[Decision]) -> tuple[ImageSet, Patch]:
    """Do what was accepted: drop samples, or give them new labels. The data itself is untouched: this makes a view.

    Of several decisions on one finding the last counts; of several on one sample a drop counts before a relabelling,
    and a later relabelling before an earlier. A label ``a|b`` says that both are right: the sample's soft label is
    shared equally between them, and its label stays where it is one of them, else becomes the first.

    Args:
        data: the image set the decisions were made on.
        decisions: as read by :func:`kintsugi.core.decision.read_decisions`, or in the order they were made.

    Returns:
        The new view, and the patch that tells and undoes the changes.

    Raises:
        BadData: a decision was made on other data, or names a sample or a class that is not in it.
        BadArgument: ``decisions`` holds something else.
    """
    latest: dict[str, Decision] = {}
    for decision in decisions.values() if isinstance(decisions, Mapping) else decisions:
        if not isinstance(decision, Decision):
            raise BadArgument.of("decisions", decision, "decisions, as read by read_decisions")
        if decision.data != data.fingerprint:
            raise BadData(
                f"The decision on {decision.finding!r} was made on other data ({decision.data} instead of "
                f"{data.fingerprint}).",
                "Use the decisions made for this data.",
            )
        latest.pop(decision.finding, None)  # so that the order is that of the decisions that count
        latest[decision.finding] = decision
    place = {name: number for number, name in enumerate(data.ids)}
    wanted: dict[int, tuple[Decision, tuple[int, ...]]] = {}
    overruled: list[str] = []
    for decision in latest.values():
        if decision.verdict != "accept" or decision.action == "keep":
            continue
        for number, name in enumerate(decision.ids):
            if name not in place:
                raise BadData(
                    f"The decision on {decision.finding!r} names the sample {name!r}, which is not in the data.",
                    "Use the decisions made for this data.",
                )
            row = place[name]
            new = _indices(data, decision.labels[number], decision) if decision.action == "relabel" else ()
            earlier = wanted.get(row)
            if earlier is not None and earlier[0].action == "drop":
                if decision.action != "drop":
                    overruled.append(decision.finding)
                continue
            if earlier is not None:
                overruled.append(earlier[0].finding)
            wanted[row] = (decision, new)
    return _applied(data, wanted, tuple(dict.fromkeys(overruled)))


def _indices(data: ImageSet, label: str, decision: Decision) -> tuple[int, ...]:
    """The classes that ``a|b`` names; a class whose own name holds ``|`` is meant as a whole."""
    names = [label] if label in data.classes else label.split("|")
    unknown = [name for name in names if name not in data.classes]
    if unknown:
        raise BadData(
            f"The decision on {decision.finding!r} names the class {unknown[0]!r}, which is not in the data.",
            f"Known: {', '.join(data.classes[:20])}.",
        )
    return tuple(dict.fromkeys(data.classes.index(name) for name in names))


def _applied(
    data: ImageSet, wanted: dict[int, tuple[Decision, tuple[int, ...]]], overruled: tuple[str, ...]
) -> tuple[ImageSet, Patch]:
    labels = data.labels.copy()
    names = np.array([*data.classes, ""], dtype=object)
    changes = []
    for row, (decision, new) in sorted(wanted.items()):
        before, after = str(names[labels[row]]), "|".join(data.classes[k] for k in new)
        if new and labels[row] not in new:
            labels[row] = new[0]
        changes.append(Change(data.ids[row], decision.action, before, after, decision.finding, decision.reviewer))
    made = data.with_column("label", labels) if changes else data
    if (soft := _soft(data, wanted)) is not None:
        made = made.with_targets(soft)
    kept = np.array([row for row in range(len(data)) if row not in wanted or wanted[row][1]], dtype=np.int64)
    made = made.select(kept) if len(kept) < len(data) else made
    return made, Patch(data.fingerprint, tuple(changes), overruled, data)


def _soft(data: ImageSet, wanted: dict[int, tuple[Decision, tuple[int, ...]]]) -> NDArray[np.float32] | None:
    """Soft labels after the changes, where there were any or several labels are right; else None."""
    if data.target is None and all(len(new) < 2 for _, new in wanted.values()):
        return None
    soft = data.soft_labels().copy()
    for row, (_, new) in wanted.items():
        if new:
            soft[row] = 0.0
            soft[row, list(new)] = 1.0 / len(new)
    return soft
