"""A bound on time: what reports its progress stops, the tighter bound holds, and nothing stays bound afterwards."""

import time

import pytest

from kintsugi.core.budget import BudgetSpent, check, whole, within
from kintsugi.core.progress import task, track


def test_work_that_reports_progress_stops():
    began, done = time.monotonic(), 0
    with pytest.raises(BudgetSpent, match="0 s given"), within(0.05):
        for _ in track(range(10**6), "long work"):
            done += 1
            time.sleep(0.01)
    assert done < 100
    assert time.monotonic() - began < 2
    with task("other work", 1) as tracker:
        tracker.advance()  # the bound went with its block


def test_the_tighter_bound_holds():
    with within(0.0):
        with pytest.raises(BudgetSpent), within(60.0):
            check()
        with pytest.raises(BudgetSpent), within(None):
            check()
    with within(60.0), within(None):
        check()
    with within(None):
        check()


def test_whole_work_is_told_afterwards():
    with within(0.0):
        with whole():
            check()
            with pytest.raises(BudgetSpent), within(0.0):
                check()
        with pytest.raises(BudgetSpent):
            check()
