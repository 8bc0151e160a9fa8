"""A tree of classes from lines ``parent child``, and its names put in place of ids: what relatives are told from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kintsugi.core.errors import BadData


def read_hierarchy(path: Path | str, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Parent of every node that has one.

    Args:
        path: text file with a line ``parent child`` an edge, as the ImageNet hierarchies have it.
        names: class name of an id; other ids stay as they are.

    Raises:
        BadData: a line is no edge, a node has two parents, two ids share a name, or there is a circle.
    """
    named = dict(names or {})
    twice = next((name for name, times in Counter(named.values()).items() if times > 1), None)
    if twice is not None:
        raise BadData(f"Two ids are named {twice!r}.", "Give each class a name of its own.")
    parent: dict[str, str] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2:
            raise BadData(f"{path} line {number} is no edge: {line!r}.", "Write 'parent child' on a line.")
        above, below = (named.get(part, part) for part in parts)
        if parent.setdefault(below, above) != above:
            raise BadData(f"{path} line {number}: {below!r} has two parents.", "Keep the one that counts.")
    for start in parent:
        seen, node = {start}, start
        while node in parent:
            node = parent[node]
            if node in seen:
                raise BadData(f"{path}: {start!r} is above itself.", "Take the circle out.")
            seen.add(node)
    return parent
