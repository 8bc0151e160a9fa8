"""Building a method from words: options come from its constructor, collaborators are handed in by name."""

from __future__ import annotations

import argparse
import builtins
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from kintsugi.core.errors import BadArgument
from kintsugi.core.registry import Entry, parameters


def build(entry: Entry, options: Mapping[str, Any], collaborators: Mapping[str, Any]) -> Any:
    """An instance of a method.

    Args:
        entry: the method.
        options: values by parameter name; text is read as the parameter's type.
        collaborators: teacher, generator, encoder...: given to parameters of that name.

    Raises:
        BadArgument: an unknown option, a value of the wrong type, or a required collaborator that is missing.
    """
    cls = entry.load()
    known = parameters(cls)
    hints = _hints(cls)
    for name in options:
        if name not in known:
            raise BadArgument(f"{entry.card.name} has no option {name!r}.", f"It has: {', '.join(known) or 'none'}.")
    values = {name: parse(name, value, hints.get(name, str)) for name, value in options.items()}
    for name, parameter in known.items():
        if name in values:
            continue
        if collaborators.get(name) is not None:
            values[name] = collaborators[name]
        elif parameter.default is inspect.Parameter.empty:
            raise BadArgument(f"{entry.card.name} needs a {name}.", f"Give one with --{name.replace('_', '-')}.")
    return cls(**values)


class _Names(dict[str, Any]):
    """Names of annotations. One that only type checkers import stands for a collaborator, which no text can name."""

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return Any


def _hints(cls: type[Any]) -> dict[str, Any]:
    """Types of the constructor's parameters."""
    names = _Names(vars(sys.modules[cls.__module__]))
    return typing.get_type_hints(cls.__init__ if "__init__" in vars(cls) else cls, localns=names)


def parse(name: str, value: Any, hint: Any) -> Any:
    """Read text as a type: numbers, booleans, choices, optional values, comma-separated tuples."""
    if not isinstance(value, str):
        return value
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value.lower() in ("none", "null") and type(None) in args:
            return None
        tried = [arg for arg in args if arg is not type(None)]
        for arg in sorted(tried, key=lambda arg: arg is str):  # text takes anything, so it comes last
            try:
                return parse(name, value, arg)
            except BadArgument:
                continue
        raise BadArgument.of(name, value, f"a {hint}")
    if origin is Literal:
        if value not in map(str, args):
            raise BadArgument.of(name, value, "one of " + ", ".join(map(str, args)))
        return next(arg for arg in args if str(arg) == value)
    if origin in (tuple, list, Sequence):
        inner = args[0] if args else str
        return tuple(parse(name, part.strip(), inner) for part in value.split(","))
    if hint is bool:
        if value.lower() in ("true", "yes", "1", "on"):
            return True
        if value.lower() in ("false", "no", "0", "off"):
            return False
        raise BadArgument.of(name, value, "true or false")
    if hint in (int, float):
        try:
            return hint(value)
        except ValueError as error:
            raise BadArgument.of(name, value, "a whole number" if hint is int else "a number") from error
    return value


def from_words(words: Sequence[str]) -> dict[str, str]:
    """``--gamma 2 --form=log`` to ``{"gamma": "2", "form": "log"}``: the options of a method named by ``--with``."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise BadArgument(f"{word!r} is not expected here.", "Options of the method look like --name value.")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                value = "true"  # a bare switch
            else:
                value = rest.pop(0)
        options[name.replace("-", "_")] = value
    return options


def describe(entry: Entry, parser: argparse.ArgumentParser) -> None:
    """Show a method's options in a command's help."""
    group = parser.add_argument_group(f"options of {entry.card.name}", entry.card.title)
    for name, parameter in parameters(entry.load()).items():
        default = "required" if parameter.default is inspect.Parameter.empty else f"default {parameter.default}"
        group.add_argument(f"--{name.replace('_', '-')}", help=default, default=argparse.SUPPRESS)
