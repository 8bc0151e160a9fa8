"""The folders are the index: methods are found by reading the literal ``CARD`` of every file, importing none."""

from __future__ import annotations

import ast
import difflib
import inspect
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from kintsugi.core.card import HOMES, Card
from kintsugi.core.errors import BadArgument

_ROOT = Path(__file__).resolve().parents[1]
_reading = threading.Lock()  # once is enough, and CPython 3.11 parses in one thread at a time alone


@dataclass(frozen=True, slots=True)
class Entry:
    """A method of the house: its card, its module's dotted name, and the first paragraph of its docstring."""

    card: Card
    module: str
    idea: str

    def load(self) -> type[Any]:
        """Import the module and return its one public class."""
        module = import_module(self.module)
        wanted = self.card.name.replace("_", "")
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and thing.__module__ == self.module and name.lower() == wanted:
                return thing
        raise RuntimeError(f"{self.module} has a CARD named {self.card.name!r} but no class of that name")


def _read(path: Path) -> Entry | None:
    source = path.read_text(encoding="utf-8")
    if "CARD = Card(" not in source:
        return None
    tree = ast.parse(source, filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CARD":
            call = node.value
            if not isinstance(call, ast.Call) or call.args:
                raise RuntimeError(f"{path}: CARD must be Card(name=..., ...) with keywords only")
            facts = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
            dotted = ".".join(("kintsugi", *path.relative_to(_ROOT).with_suffix("").parts))
            idea = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
            return Entry(Card(**facts), dotted, idea)
    return None


def _scan() -> Iterator[Entry]:
    for folder in sorted({home for homes in HOMES.values() for home in homes}):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            entry = _read(path)
            if entry is not None:
                yield entry


def entries() -> dict[str, Entry]:
    """Every method of the house by name, sorted by kind and name."""
    with _reading:
        return _entries()


@cache
def _entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in _scan():
        if entry.card.name in found and found[entry.card.name].module != entry.module:
            raise RuntimeError(f"two methods are named {entry.card.name!r}")
        found[entry.card.name] = entry
    order = list(HOMES)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1].card.kind), item[0])))


def of_kind(kind: str) -> list[Entry]:
    """All methods of one kind."""
    return [entry for entry in entries().values() if entry.card.kind == kind]


def find(name: str, kind: str | tuple[str, ...] | None = None) -> Entry:
    """The method called ``name``.

    Raises:
        BadArgument: no such method, or it is of another kind; the nearest names are offered.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    known = [entry.card.name for entry in entries().values() if kinds is None or entry.card.kind in kinds]
    if name in known:
        return entries()[name]
    near = difflib.get_close_matches(name, known, n=3) or known
    what = " or ".join(kinds) if kinds else "method"
    raise BadArgument(f"There is no {what} named {name!r}.", f"Known: {', '.join(near)}.")


def parameters(method: type[Any]) -> dict[str, inspect.Parameter]:
    """The configuration of a method: its constructor's parameters, which become command-line options."""
    signature = inspect.signature(method, eval_str=False)
    return {name: p for name, p in signature.parameters.items() if name != "self"}
