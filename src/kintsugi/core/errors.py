"""One clear error for a person: what is wrong, with which file or argument, and what to do about it."""

from __future__ import annotations

from typing import Any


class KintsugiError(Exception):
    """An error a person can act on. The command line prints its text and no traceback.

    Args:
        what: what is wrong, naming the file or argument and the offending value.
        remedy: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} {remedy}".strip())


class BadArgument(KintsugiError, ValueError):
    """An argument, option or constructor parameter has a value that is not allowed."""

    @classmethod
    def of(cls, name: str, value: Any, allowed: str) -> BadArgument:
        """The one wording for a bad parameter: ``eps=-1 is not allowed: give a number above 0.``"""
        return cls(f"{name}={value!r} is not allowed:", f"give {allowed}.")


class BadData(KintsugiError):
    """A data set, table or predictions file cannot be used as it is."""


class BadCheckpoint(KintsugiError):
    """A weights file is not what it should be, or would execute code when read."""


class MissingDependency(KintsugiError, ImportError):
    """An optional library is not installed."""


class RunBusy(KintsugiError):
    """Another process is writing to the same run folder."""


class StorageFull(KintsugiError, OSError):
    """The disk is full; what was written before is intact."""


def require(ok: bool, name: str, value: Any, allowed: str) -> None:
    """Raise :class:`BadArgument` unless ``ok``."""
    if not ok:
        raise BadArgument.of(name, value, allowed)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise :class:`BadArgument` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise BadArgument.of(name, value, "one of " + ", ".join(choices))
