"""Jobs at the same time, each when it may be done."""

import subprocess
import sys
import threading
import time
from functools import partial

import pytest
import torch

from kintsugi.core.budget import BudgetSpent, within
from kintsugi.core.errors import BadArgument
from kintsugi.core.progress import track
from kintsugi.core.side_by_side import Job, free_cores, on_all_cores, side_by_side


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch):
    monkeypatch.setattr("kintsugi.core.side_by_side.cores", lambda: 4)


def test_parts_are_spread_and_keep_their_order():
    meet, before = threading.Barrier(2, timeout=10), torch.get_num_threads()

    def work(part):
        if part < 2:
            meet.wait()
        return part, torch.get_num_threads()

    assert list(on_all_cores(work, range(20))) == [(part, 1) for part in range(20)]
    assert torch.get_num_threads() == before
    begun = []

    def slow(part):
        begun.append(part)
        time.sleep(0.01)

    made = on_all_cores(slow, range(1000))
    next(made)
    made.close()  # whoever stops asking is not kept waiting for the rest
    assert len(begun) < 500


def test_two_run_at_once_and_results_keep_their_order():
    meet = threading.Barrier(2, timeout=10)  # breaks unless both are there
    jobs = [Job("a", lambda: meet.wait() * 0 + 1), Job("b", lambda: meet.wait() * 0 + 2), Job("c", lambda: 3)]
    assert side_by_side(jobs, "test") == [1, 2, 3]


def test_what_must_come_before_does():
    begun = []

    def work(name):
        begun.append(name)
        return name

    after = {"a": ("d", "of no job"), "b": ("c",), "c": (), "d": ()}
    jobs = [Job(name, partial(work, name), after[name]) for name in after]
    assert side_by_side(jobs, "test", workers=3) == ["a", "b", "c", "d"]
    assert begun.index("d") < begun.index("a")
    assert begun.index("c") < begun.index("b")
    with pytest.raises(BadArgument, match="after"):
        side_by_side([Job("a", int, after=("b",)), Job("b", int, after=("a",))], "test")


def test_the_cores_are_shared_and_given_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        made = side_by_side([Job(name, torch.get_num_threads) for name in "ab"], "test")
        assert made == [2, 2]
        assert torch.get_num_threads() == 4
        assert side_by_side([Job("alone", torch.get_num_threads)], "test") == [4]
    finally:
        torch.set_num_threads(before)
    assert side_by_side([], "test") == []


def test_one_that_fails_stops_the_others():
    ended = []

    def long():
        try:
            for _ in track(range(2000), "long"):
                time.sleep(0.01)
        finally:
            ended.append(time.monotonic())

    def failing():
        time.sleep(0.05)
        raise ValueError("no")

    begun, never = time.monotonic(), []
    jobs = [Job("long", long), Job("failing", failing), Job("never", lambda: never.append(1))]
    with pytest.raises(ValueError, match="no"):
        side_by_side(jobs, "test")
    assert ended
    assert ended[0] - begun < 5
    assert not never


def test_a_budget_holds_inside():
    def long():
        for _ in track(range(2000), "long"):
            time.sleep(0.01)

    with pytest.raises(BudgetSpent), within(0.1):
        side_by_side([Job("a", long), Job("b", long)], "test")


def test_a_process_among_many_takes_one_core():
    code = "import torch; from kintsugi.core.side_by_side import cores, one_core; one_core(); "
    code += "print(cores(), torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_beside_urgent_work_the_rest_takes_its_share_and_later_all_cores():
    both, told = threading.Barrier(2, timeout=10), threading.Event()

    def urgent():
        both.wait()
        told.wait(10)
        return [free_cores()]

    def other():
        both.wait()
        found = [free_cores(), len({*on_all_cores(lambda _: threading.get_ident(), range(50))})]
        told.set()
        while free_cores() < 4:  # until the urgent one is known to be done
            time.sleep(0.01)
        return [*found, free_cores()]

    (all_of_them,), (share, threads, later) = side_by_side([Job("a", urgent, urgent=True), Job("b", other)], "test")
    assert (all_of_them, share, later) == (4, 2, 4)
    assert threads <= 2
    assert free_cores() == 4
