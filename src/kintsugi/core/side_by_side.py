"""Independent pieces of work at the same time, on threads that share the cores.

Much of the numerical work of a check is small products, for which a second core gains little: two checks with one core
each are done sooner than one after the other with both. Threads share the pixels that were decoded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from kintsugi.core.budget import obey
from kintsugi.core.errors import require
from kintsugi.core.progress import task

P = TypeVar("P")
T = TypeVar("T")


_one_core = False
_share: ContextVar[Callable[[], int] | None] = ContextVar("kintsugi_share", default=None)


def cores() -> int:
    """Cores this process may use."""
    if _one_core:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_cores() -> int:
    """Cores that this piece of work may use now: all, or its share while another one is more urgent."""
    share = _share.get()
    return cores() if share is None else share()


def one_core() -> None:
    """From now on this process takes one core, and so does its linear algebra: it is one of as many as there are cores,
    and more threads would only wait for each other.
    """
    global _one_core  # a fact about the process
    import torch
    from threadpoolctl import threadpool_limits

    _one_core = True
    torch.set_num_threads(1)
    threadpool_limits(1)


def on_all_cores(work: Callable[[P], T], parts: Iterable[P], *, most: int | None = None) -> Iterator[T]:
    """What ``work`` makes of each part, in their order, on a thread for each core that is free for it.

    For small operations, which threads of their own would not speed up: inside, each has one thread.

    Args:
        work: of one part; numerical libraries give up the interpreter's lock in it.
        parts: in order.
        most: threads at most, where each takes much memory.
    """
    import torch
    from threadpoolctl import threadpool_limits

    free = free_cores()
    workers = max(1, min(free, most or free))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="part", initializer=torch.set_num_threads, initargs=(1,))
    with threadpool_limits(1):
        try:
            yield from pool.map(work, parts)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Job(Generic[T]):
    """One piece of work.

    Attributes:
        name: no two have the same.
        work: what is done.
        after: names of those that must be done before; names of none are ignored.
        urgent: others wait for it: it may use all cores, those that run beside it an even share.
    """

    name: str
    work: Callable[[], T]
    after: tuple[str, ...] = ()
    urgent: bool = False


def side_by_side(jobs: Sequence[Job[T]], name: str, *, workers: int = 2) -> list[T]:
    """The results, in the order of the jobs.

    They are begun in that order too, as far as ``after`` allows. Progress, budgets and other context are
    those of the caller. When one fails, or the caller is interrupted, no other is begun, and the running ones end where
    they next report progress.

    Args:
        jobs: what is to be done.
        name: what progress calls them together.
        workers: threads, among which the linear algebra inside shares the cores evenly; of one job or one core there
            is one, and nothing is limited.

    Raises:
        BadArgument: jobs wait for each other in a circle.
    """
    workers = max(1, min(workers, cores(), len(jobs)))
    names, stop = {job.name for job in jobs}, threading.Event()
    waiting, running, results = [*jobs], dict[Future[T], Job[T]](), dict[str, T]()
    with task(name, len(jobs)) as tracker, _shared(cores() // workers if workers > 1 else None) as begun:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="job", initializer=begun)
        try:
            while waiting or running:
                free = (job for job in waiting if names & {*job.after} <= results.keys())
                if len(running) < workers and (job := next(free, None)) is not None:
                    waiting.remove(job)
                    context = copy_context()
                    context.run(obey, stop)
                    context.run(_share.set, partial(_allowed, job, running, workers))
                    running[pool.submit(context.run, job.work)] = job
                    continue
                require(bool(running), "after", [job.name for job in waiting], "names of jobs that can be done before")
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results[running.pop(future).name] = future.result()
                    tracker.advance()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return [results[job.name] for job in jobs]


def _allowed(job: Job[T], running: dict[Future[T], Job[T]], workers: int) -> int:
    pressed = not job.urgent and any(other.urgent for other in [*running.values()])
    return max(1, cores() // workers) if pressed else cores()


@contextmanager
def _shared(threads: int | None) -> Iterator[Callable[[], None]]:
    """Linear algebra on so many threads (None leaves it alone); gives what each new thread must call first."""
    if threads is None:
        yield lambda: None
        return
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield lambda: torch.set_num_threads(threads)  # each thread has a number of its own
        finally:
            torch.set_num_threads(before)
