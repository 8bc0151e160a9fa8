"""The table of groups: before and after, and the change with its interval, drawn on common scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kintsugi.ops.statistics import wilson
from kintsugi.report import svg
from kintsugi.report.markup import Markup, amount, joined, percent, points, tag

if TYPE_CHECKING:
    from kintsugi.core.verdict import Effect

SUMMARIES = ("worst group", "average")
SHOWN = 20  # groups shown at once; the others are one key press away


def split_effects(effects: Sequence[Effect]) -> tuple[Effect | None, Effect | None, tuple[Effect, ...]]:
    """The worst group's effect, the average's, and those of the groups, worst first."""
    summary = {each.group: each for each in effects if each.group in SUMMARIES and each.p_value is None}
    groups = tuple(each for each in effects if summary.get(each.group) is not each)
    ordered = sorted(groups, key=lambda each: (min(each.before, each.after), each.group))
    return summary.get("worst group"), summary.get("average"), tuple(ordered)


def effects_table(effects: Sequence[Effect]) -> Markup | None:
    """Every group's row, the summaries first."""
    if not effects:
        return None
    worst, average, groups = split_effects(effects)
    bound = math.ceil(10 * max([0.1, *(abs(end) for each in effects for end in each.interval)]) - 1e-9) / 10
    key = tag(
        "p",
        svg.key("before"),
        "before",
        svg.key("after"),
        "after, thin lines their 95% Wilson intervals",
        svg.key("span"),
        "change with its 95% interval. Worst groups first.",
        class_="hint",
    )
    summaries = [each for each in (worst, average) if each is not None]
    first, rest = groups[:SHOWN], groups[SHOWN:]
    return joined(
        key,
        _table(summaries, first, bound),
        tag(
            "details",
            tag("summary", f"Show {amount(len(rest), 'more group')}"),
            _table([], rest, bound),
        )
        if rest
        else None,
    )


def _table(summaries: Sequence[Effect], groups: Sequence[Effect], bound: float) -> Markup:
    accuracy = svg.scale([(0, "0%"), (0.5, "50%"), (1, "100%")])
    changes = svg.scale([(0, f"−{100 * bound:.0f}"), (0.5, "0"), (1, f"+{100 * bound:.0f}")])
    head = tag(
        "tr",
        tag("th", "Group", scope="col"),
        tag("th", "Images", scope="col", class_="number wide"),
        tag("th", "Before", scope="col", class_="number"),
        tag("th", "After", scope="col", class_="number"),
        tag("th", tag("span", "Accuracy", class_="sr"), accuracy, scope="col", class_="drawn"),
        tag("th", tag("span", "Change in points", class_="sr"), changes, scope="col", class_="drawn wide"),
        tag("th", "Change", scope="col", class_="number"),
        tag(
            "th",
            tag("abbr", "p", title="exact McNemar, corrected for the number of groups"),
            scope="col",
            class_="number wide",
        ),
    )
    return tag(
        "div",
        tag(
            "table",
            tag("thead", head),
            tag("tbody", [_row(each, bound) for each in summaries], class_="summary") if summaries else None,
            tag("tbody", [_row(each, bound, whiskers=True) for each in groups]),
            class_="effects",
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Accuracy by group",
    )


def _row(effect: Effect, bound: float, *, whiskers: bool = False) -> Markup:
    ends: list[tuple[float, float] | None] = [None, None]
    if whiskers and effect.count:
        for place, share in enumerate((effect.before, effect.after)):
            interval = wilson(min(share, 1.0) * effect.count, effect.count)
            ends[place] = (float(interval[0]), float(interval[1]))
    lost = effect.p_value is not None and effect.p_value < 0.05 and effect.difference < 0
    low, high = effect.interval
    way = "down" if lost or high < 0 else ("up" if low > 0 else "flat")
    return tag(
        "tr",
        tag(
            "th",
            group_name(effect.group),
            tag("div", tag("span", "got worse", class_="chip")) if lost else None,
            scope="row",
        ),
        tag("td", f"{effect.count:,}", class_="number wide"),
        tag("td", percent(effect.before), class_="number"),
        tag("td", percent(effect.after), class_="number"),
        tag(
            "td",
            svg.dumbbell(effect.before, effect.after, before_interval=ends[0], after_interval=ends[1]),
            class_="drawn",
        ),
        tag("td", svg.change(effect.difference, effect.interval, bound), class_="drawn wide"),
        tag(
            "td",
            tag("b", points(effect.difference)),
            tag("span", f"{points(low)} to {points(high)}", class_="small"),
            class_=f"number change {way}",
        ),
        tag("td", "" if effect.p_value is None else _p(effect.p_value), class_="number wide"),
    )


def group_name(name: str) -> Markup:
    """A group's name; where it is ``attribute=value, attribute=value``, the values stand out."""
    parts = [part.partition("=") for part in name.split(", ")]
    if not all(equals and attribute and value for attribute, equals, value in parts):
        return joined(name)
    words = [joined(tag("span", f"{attribute} ", class_="part"), value) for attribute, _, value in parts]
    return joined([joined(", " if number else "", word) for number, word in enumerate(words)])


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
