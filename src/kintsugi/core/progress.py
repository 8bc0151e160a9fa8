"""Progress with an estimate of the time left, on the error stream, so that results on the output stream stay clean.

Where work reports progress it can also be stopped: see :mod:`kintsugi.core.budget`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from kintsugi.core.budget import check

T = TypeVar("T")


class Tracker(Protocol):
    """Shows how far one task has come."""

    def advance(self, by: int = 1, note: str = "") -> None:
        """Say that ``by`` more units are done.

        Raises:
            BudgetSpent: the time given to the work is spent.
        """


class _Silent:
    def advance(self, by: int = 1, note: str = "") -> None:
        """Show nothing."""
        check()


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def advance(self, by: int = 1, note: str = "") -> None:
        self._bar.update(self._task, advance=by, note=note)
        check()


_shown: ContextVar[Any] = ContextVar("kintsugi_progress", default=None)


@contextlib.contextmanager
def shown(enabled: bool = True) -> Iterator[None]:
    """Show progress bars inside this block; a library call shows nothing unless asked."""
    if not enabled:
        yield
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        token = _shown.set(bar)
        try:
            yield
        finally:
            _shown.reset(token)


def say(text: str) -> None:
    """A sentence that stays, for what must be known before long work starts; shown where progress is."""
    bar = _shown.get()
    if bar is not None:
        bar.console.print(text, markup=False, highlight=False)


@contextlib.contextmanager
def task(name: str, total: int | None = None) -> Iterator[Tracker]:
    """Track one piece of long work; shows a bar only inside :func:`shown`."""
    bar = _shown.get()
    if bar is None:
        yield _Silent()
        return
    handle = bar.add_task(name, total=total, note="")
    try:
        yield _Bar(bar, handle)
    finally:
        bar.stop_task(handle)


def track(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, tracking each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with task(name, total) as tracker:
        for item in items:
            yield item
            tracker.advance()
