"""The report's drawings: small, in the page's own colours (by class), each with its title for those who cannot see it.

Horizontal positions are percentages, so a drawing fills whatever column it stands in and its circles stay round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kintsugi.report.markup import Markup, joined, percent, points, tag

_EDGE = 3.0  # per cent kept free on both sides, so that a dot on the border is whole


def _x(share: float) -> str:
    """A share of the scale as a horizontal position."""
    return f"{_EDGE + (100 - 2 * _EDGE) * min(max(share, 0.0), 1.0):.2f}%"


def drawing(title: str, height: int, *shapes: Any, class_: str = "plot") -> Markup:
    """A drawing of a row's width."""
    return tag(
        "svg",
        tag("title", title),
        *shapes,
        class_=class_,
        width="100%",
        height=height,
        role="img",
        aria_label=title,
    )


def dumbbell(
    before: float,
    after: float,
    *,
    before_interval: tuple[float, float] | None = None,
    after_interval: tuple[float, float] | None = None,
) -> Markup:
    """Accuracy before (hollow dot) and after (full dot) on a scale from 0 to 100%, with whiskers if given."""
    way = "flat" if after == before else ("up" if after > before else "down")
    whiskers = [
        tag("line", x1=_x(ends[0]), x2=_x(ends[1]), y1=y, y2=y, class_=f"whisker {kind}")
        for ends, y, kind in ((before_interval, 8, "before"), (after_interval, 22, "after"))
        if ends is not None
    ]
    return drawing(
        f"before {percent(before)}, after {percent(after)}",
        30,
        [tag("line", x1=_x(v), x2=_x(v), y1=0, y2=30, class_="grid") for v in (0, 0.25, 0.5, 0.75, 1)],
        whiskers,
        tag("line", x1=_x(before), x2=_x(after), y1=15, y2=15, class_=f"link {way}"),
        tag("circle", cx=_x(before), cy=15, r=4.5, class_="dot before"),
        tag("circle", cx=_x(after), cy=15, r=5.5, class_=f"dot after {way}"),
    )


def change(difference: float, interval: tuple[float, float], bound: float) -> Markup:
    """A difference with its interval on a scale from -bound to +bound, zero in the middle."""

    def at(value: float) -> str:
        return _x(0.5 + 0.5 * value / bound)

    way = "up" if interval[0] > 0 else ("down" if interval[1] < 0 else "flat")
    return drawing(
        f"{points(difference)} points, 95% interval {points(interval[0])} to {points(interval[1])}",
        30,
        tag("line", x1=at(0), x2=at(0), y1=0, y2=30, class_="zero"),
        tag("line", x1=at(interval[0]), x2=at(interval[1]), y1=15, y2=15, class_=f"span {way}"),
        [tag("line", x1=at(end), x2=at(end), y1=10, y2=20, class_=f"cap {way}") for end in interval],
        tag("circle", cx=at(difference), cy=15, r=4, class_=f"dot {way}"),
    )


def scale(labels: Sequence[tuple[float, str]]) -> Markup:
    """The labels above a column of row drawings; positions are shares of the width."""
    marks = []
    for share, text in labels:
        anchor = "start" if share <= 0 else ("end" if share >= 1 else "middle")
        marks.append(tag("text", text, x=_x(share), y=12, text_anchor=anchor))
    return tag("svg", marks, class_="scale", width="100%", height=16, aria_hidden="true")


def bar(share: float, title: str, class_: str = "") -> Markup:
    """A share as a bar."""
    full = f"{100 * min(max(share, 0.0), 1.0):.2f}%"
    return drawing(
        title,
        8,
        tag("rect", x=0, y=0, width="100%", height=8, rx=4, class_="track"),
        tag("rect", x=0, y=0, width=full, height=8, rx=4, class_=f"fill {class_}".strip()),
        class_="bar",
    )


def histogram(scores: Sequence[float], threshold: float | None = None, bins: int = 40) -> Markup:
    """How scores from 0 to 1 are spread, with the threshold; heights are square roots, so that few stay visible."""
    counts, _ = np.histogram(np.clip(np.asarray(scores, dtype=float), 0, 1), bins=bins, range=(0.0, 1.0))
    tallest = math.sqrt(max(1, counts.max(initial=1)))
    width = (100 - 2 * _EDGE) / bins
    columns = []
    for number, count in enumerate(counts.tolist()):
        if count:
            height = max(1.5, 44 * math.sqrt(count) / tallest)
            past = threshold is not None and (number + 1) / bins > threshold
            columns.append(
                tag(
                    "rect",
                    x=f"{_EDGE + number * width:.2f}%",
                    y=f"{46 - height:.1f}",
                    width=f"{width * 0.8:.2f}%",
                    height=f"{height:.1f}",
                    class_="column past" if past else "column",
                )
            )
    limit = []
    if threshold is not None and 0 <= threshold <= 1:
        limit = [tag("line", x1=_x(threshold), x2=_x(threshold), y1=0, y2=48, class_="threshold")]
    title = f"{len(scores)} scores from {min(scores, default=0):.2f} to {max(scores, default=0):.2f}"
    if threshold is not None:
        title += f", flagged from {threshold:.2f}"
    base = tag("line", x1=_x(0), x2=_x(1), y1=46, y2=46, class_="base")
    marks = [tag("text", text, x=_x(x), y=58, text_anchor=a) for x, text, a in ((0, "0", "start"), (1, "1", "end"))]
    return drawing(title, 60, columns, base, limit, marks, class_="plot histogram")


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers between two values."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def lines(title: str, series: Sequence[tuple[str, Sequence[float], Sequence[float | None]]]) -> Markup:
    """Curves over steps; a value of None (not a number when it was logged) breaks the curve.

    Args:
        title: what is drawn.
        series: name, steps and values of each curve.
    """
    steps = [float(s) for _, step, _ in series for s in step]
    values = [float(v) for _, _, value in series for v in value if v is not None]
    if not steps or not values:
        return drawing(f"{title}: nothing was recorded", 20)
    left, right, top, bottom = 46.0, 344.0, 10.0, 150.0
    x_low, x_high, y_low, y_high = min(steps), max(steps), min(values), max(values)
    pad = 0.06 * (y_high - y_low) or 0.5 * abs(y_high) or 0.5
    y_low, y_high = (max(0.0, y_low - pad) if y_low >= 0 else y_low - pad), y_high + pad

    def at(step: float, value: float) -> tuple[float, float]:
        across = (step - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return left + (right - left) * across, bottom - (bottom - top) * (value - y_low) / (y_high - y_low)

    shapes: list[Any] = []
    for mark in ticks(y_low, y_high):
        y = round(at(x_low, mark)[1], 1)
        shapes.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        shapes.append(tag("text", f"{mark:.4g}", x=left - 6, y=y + 3.5, text_anchor="end"))
    for mark in ticks(x_low, x_high, 5):
        x = round(at(mark, y_low)[0], 1)
        shapes.append(tag("text", f"{mark:,.6g}", x=x, y=bottom + 15, text_anchor="middle"))
    for number, (name, step, value) in enumerate(series):
        shapes.append(
            tag("path", tag("title", name), d=_path(step, value, at), class_=f"curve {_stroke(number, len(series))}")
        )
    return tag(
        "svg",
        tag("title", title),
        shapes,
        class_="chart",
        viewBox="0 0 352 170",
        role="img",
        aria_label=f"{title}: {', '.join(name for name, _, _ in series)}",
    )


def _path(step: Sequence[float], value: Sequence[float | None], at: Any) -> str:
    """A path with at most 400 points: of every stretch its lowest and highest, so that no spike is lost."""
    rows = list(zip(step, value, strict=True))
    stretch = max(1, math.ceil(len(rows) / 200))
    kept: list[tuple[float, float | None]] = []
    for start in range(0, len(rows), stretch):
        part = rows[start : start + stretch]
        known = sorted((i for i, row in enumerate(part) if row[1] is not None), key=lambda i: float(part[i][1] or 0.0))
        if len(known) < len(part):
            kept.append((part[0][0], None))
        kept += [part[i] for i in sorted({known[0], known[-1]})] if known else []
    words, pen = [], "M"
    for s, v in kept:
        if v is None:
            pen = "M"
            continue
        x, y = at(float(s), float(v))
        words.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(words)


def _stroke(number: int, total: int) -> str:
    """The last curve is the golden one: it is what the others led to."""
    return f"c{(total - 1 - number) % 4}"


def key(kind: str) -> Markup:
    """A drawing's sign, for the line that explains it: ``before``, ``after`` or ``span``."""
    shapes = {
        "before": [tag("circle", cx=7, cy=9, r=4.5, class_="dot before")],
        "after": [tag("circle", cx=7, cy=9, r=5.5, class_="dot after")],
        "span": [
            tag("line", x1=1, x2=29, y1=9, y2=9, class_="span up"),
            tag("line", x1=1, x2=1, y1=4, y2=14, class_="cap up"),
            tag("line", x1=29, x2=29, y1=4, y2=14, class_="cap up"),
            tag("circle", cx=15, cy=9, r=4, class_="dot up"),
        ],
    }[kind]
    return tag("svg", shapes, class_="plot key", width=30 if kind == "span" else 14, height=18, aria_hidden="true")


def seam() -> Markup:
    """The golden seam of a mended bowl, drawn across the page."""
    shape = "M0 9 70 11 96 4 150 13 232 8 262 15 330 6 420 10 470 3 520 12 610 8 690 11 742 5 800 9 1000 8"
    branch = "M262 15 280 20M470 3 484 0M742 5 752 1"
    return tag(
        "svg",
        tag("path", d=shape),
        tag("path", d=branch, class_="branch"),
        class_="seam",
        viewBox="0 0 1000 20",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def mark() -> Markup:
    """The house's mark: a bowl with its seam."""
    return tag(
        "svg",
        tag("path", d="M3 9 H29 C29 20 23 26 16 26 C9 26 3 20 3 9 Z", class_="bowl"),
        tag("path", d="M13 9 L15 14 L12 18 L16 21 L15 26 M15 14 L20 16 L22 9", class_="crack"),
        class_="mark",
        viewBox="0 0 32 32",
        aria_hidden="true",
    )


def legend(names: Sequence[str]) -> Markup:
    """Names of curves, each with a stroke of its line."""
    if len(names) < 2:
        return joined()
    strokes = [
        tag(
            "li",
            tag(
                "svg",
                tag("line", x1=0, x2=22, y1=6, y2=6, class_=f"curve {_stroke(number, len(names))}"),
                width=22,
                height=12,
                aria_hidden="true",
            ),
            name,
        )
        for number, name in enumerate(names)
    ]
    return tag("ul", strokes, class_="legend")
