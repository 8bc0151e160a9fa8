"""HTML that cannot be broken by its content: every text and attribute is escaped unless it is markup already."""

from __future__ import annotations

import html
import re
from typing import Any

# Void elements have no end tag; SVG's empty elements are closed like any other.
_VOID = frozenset({"br", "hr", "img", "link", "meta"})
# Control characters and what turns the reading direction around: a file name must not rewrite the page around it.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Markup(str):
    """Text that is HTML and stays as it is."""

    __slots__ = ()


def escaped(value: Any) -> Markup:
    """Any value as HTML text; what cannot be shown stands as its code."""
    if isinstance(value, Markup):
        return value
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return Markup(html.escape(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text), quote=True))


def joined(*children: Any) -> Markup:
    """Children one after the other: texts are escaped, None is nothing, lists and tuples are flattened."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(joined(*child))
        elif child is not None:
            parts.append(escaped(child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """One element.

    ``class_`` and ``for_`` drop their underscore, inner underscores become hyphens (``aria_label``), None and False
    leave an attribute out, True gives its bare name.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        plain = key.rstrip("_").replace("_", "-")
        words.append(plain if value is True else f'{plain}="{escaped(value)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{joined(*children)}</{name}>")


# ------------------------------------------------------------------------------------------------ numbers as text


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f}%"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign (a true minus)."""
    return f"{100 * share:+.1f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def amount(count: int, noun: str, plural: str = "") -> str:
    """A count and its noun: ``1 group``, ``1,234 groups``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
