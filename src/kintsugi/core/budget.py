"""A bound on time: work that reports its progress stops when the time it was given is spent.

Every long loop of the house tells :mod:`kintsugi.core.progress` how far it has come, and asks there whether it may go
on. So one block bounds training, generation, attacks and passes over the data alike, without any of them knowing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

from kintsugi.core.errors import KintsugiError


class BudgetSpent(KintsugiError):
    """The time given to a piece of work is spent before it was done."""


_limit: ContextVar[tuple[float, float] | None] = ContextVar("kintsugi_budget", default=None)  # its end, and its length


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


def check() -> None:
    """Ask whether the work may go on.

    Raises:
        BudgetSpent: its time is spent.
    """
    limit = _limit.get()
    if limit is not None and time.monotonic() >= limit[0]:
        raise BudgetSpent(f"The {max(0.0, limit[1]):.0f} s given to this work are spent.", "Give it more time.")
