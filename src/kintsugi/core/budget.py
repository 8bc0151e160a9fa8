"""A bound on time: work that reports its progress stops when the time it was given is spent.

Every long loop of the house tells :mod:`kintsugi.core.progress` how far it has come, and asks there whether it may go
on. So one block bounds training, generation, attacks and passes over the data alike, without any of them knowing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

from kintsugi.core.errors import KintsugiError


class BudgetSpent(KintsugiError):
    """The time given to a piece of work is spent before it was done."""


class Stopped(BaseException):
    """Whoever asked for this work no longer wants it. No handler of errors is meant to catch it."""


_limit: ContextVar[tuple[float, float] | None] = ContextVar("kintsugi_budget", default=None)  # its end, and its length
_stop: ContextVar[tuple[threading.Event, ...]] = ContextVar("kintsugi_stop", default=())


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Work inside this block raises :class:`BudgetSpent` when its time is spent; an outer, tighter bound still holds.

    Args:
        seconds: from now; None sets no bound of its own.
    """
    outer = _limit.get()
    own = None if seconds is None else (time.monotonic() + seconds, seconds)
    token = _limit.set(min((each for each in (outer, own) if each is not None), default=None))
    try:
        yield
    finally:
        _limit.reset(token)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Work inside this block is not left half done: where its time is spent, the next to ask after it is told."""
    token = _limit.set(None)
    try:
        yield
    finally:
        _limit.reset(token)


def obey(stop: threading.Event) -> None:
    """From here on work in this context raises :class:`Stopped` once ``stop`` is set. For threads with a context of
    their own.
    """
    _stop.set((*_stop.get(), stop))


def check() -> None:
    """Ask whether the work may go on.

    Raises:
        BudgetSpent: its time is spent.
        Stopped: it is no longer wanted.
    """
    if any(stop.is_set() for stop in _stop.get()):
        raise Stopped
    limit = _limit.get()
    if limit is not None and time.monotonic() >= limit[0]:
        raise BudgetSpent(f"The {max(0.0, limit[1]):.0f} s given to this work are spent.", "Give it more time.")
