"""Independent pieces of work side by side in processes, each on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from kintsugi.core.side_by_side import one_core

Job = TypeVar("Job")
Made = TypeVar("Made")


def spread(work: Callable[[Job], Made], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Made]]:
    """Every job with what came of it, as they are done.

    Args:
        work: what to do; it and the jobs must pickle where there are several workers.
        jobs: to be done.
        workers: processes; one does the jobs here, in their order.
    """
    if workers == 1 or len(jobs) < 2:
        yield from ((job, work(job)) for job in jobs)
        return
    # Spawned, since forking a process that holds torch's threads can hang.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=one_core) as pool:
        waiting = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
