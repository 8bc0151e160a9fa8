"""Many independent tasks: in this process, in worker processes, or on Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from kintsugi.core.errors import one_of, require
from kintsugi.core.optional import need
from kintsugi.core.progress import track
from kintsugi.core.side_by_side import one_core

ENGINES = ("processes", "ray")


class Run(Protocol):
    """Calls ``function(*job)`` for every job and gives the answers in the jobs' order."""

    def __call__(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], name: str) -> list[Any]:
        """Do the jobs, showing progress under ``name``. The first error ends the work."""


@contextlib.contextmanager
def runner(engine: str, workers: int) -> Iterator[Run]:
    """Workers that live inside this block.

    Args:
        engine: ``processes``, or ``ray``: a cluster that this process is connected to, else one of its own on this
            machine, which ends with the block.
        workers: processes (1: this one); with Ray, tasks under way at once, and processors of a Ray of its own.

    Raises:
        MissingDependency: ``ray`` was asked for and is not installed.
    """
    one_of("engine", engine, ENGINES)
    require(workers >= 1, "workers", workers, "at least 1")
    if engine == "ray":
        yield from _on_ray(workers)
    elif workers == 1:
        yield lambda function, jobs, name: [function(*job) for job in track(jobs, name)]
    else:
        yield from _in_processes(workers)


def _in_processes(workers: int) -> Iterator[Run]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_core)

    def run(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], name: str) -> list[Any]:
        waiting = [pool.submit(function, *job) for job in jobs]
        return [future.result() for future in track(waiting, name)]

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def _on_ray(workers: int) -> Iterator[Run]:
    ray: Any = need("ray", "cluster")
    own = not ray.is_initialized()
    if own:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)

    def run(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], name: str) -> list[Any]:
        remote, made = ray.remote(function), [None] * len(jobs)
        under_way: dict[Any, int] = {}
        for number, job in enumerate(track(jobs, name)):
            under_way[remote.remote(*job)] = number
            if len(under_way) >= 2 * workers or number == len(jobs) - 1:
                least = len(under_way) if number == len(jobs) - 1 else 1
                for done in ray.wait(list(under_way), num_returns=least)[0]:
                    made[under_way.pop(done)] = ray.get(done)
        return made

    try:
        yield run
    finally:
        if own:
            ray.shutdown()
