"""Against what everyone would find alone."""

import threading
from contextvars import copy_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadData
from kintsugi.ops import shared_neighbours
from kintsugi.ops.neighbours import nearest
from kintsugi.ops.shared_neighbours import nearest_among, sharing_neighbours


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 50), st.floats(0, 1), st.integers(0, 999))
def test_of_all_and_of_some_they_are_what_each_would_find(n, k, share, seed):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, 4))
    rows = rng.permutation(n)[: max(1, round(share * n))]
    with sharing_neighbours():
        for chosen in (None, rows, None):
            wanted = nearest(points if chosen is None else points[chosen], k)
            for found, own in zip(nearest_among(points, k, chosen), wanted, strict=True):
                np.testing.assert_array_equal(found, own)


@pytest.fixture
def searched(monkeypatch):
    """How many neighbours each search that was done looked for."""
    asked = []

    def counted(points, k):
        asked.append(k)
        return nearest(points, k)

    monkeypatch.setattr(shared_neighbours, "nearest", counted)
    return asked


def test_vectors_are_searched_once_however_many_ask(searched):
    points = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    with sharing_neighbours():
        contexts = [copy_context() for _ in range(4)]
        threads = [
            threading.Thread(target=context.run, args=(nearest_among, points.copy(), 5 + number))
            for number, context in enumerate(contexts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nearest_among(points, 20, np.arange(10, 300))  # ten left aside
        assert searched == [shared_neighbours.LEAST]
        nearest_among(points, 60)
        nearest_among(points + 1, 5)
        assert searched[1:] == [60, shared_neighbours.LEAST]
    nearest_among(points, 5)
    assert searched[3:] == [5]


def test_where_too_many_were_left_aside_they_are_searched_again(searched):
    rng = np.random.default_rng(1)
    points = np.concatenate([np.ones((60, 3)), rng.standard_normal((60, 3))])  # one point sixty times
    rows = np.arange(59, 120)
    with sharing_neighbours():
        distance, near = nearest_among(points, 3, rows)
    assert searched == [shared_neighbours.LEAST, 3]
    np.testing.assert_array_equal(near, nearest(points[rows], 3)[1])
    assert (distance > 1e-6).all()


def test_no_more_is_kept_than_there_is_room_for(searched, monkeypatch):
    monkeypatch.setattr(shared_neighbours, "MOST", 1000)
    points = np.eye(50)
    with sharing_neighbours():
        nearest_among(points, 2)
        nearest_among(points, 2)
    assert len(searched) == 2


def test_points_left_aside_need_not_be_finite():
    points = np.random.default_rng(0).standard_normal((30, 4))
    points[7] = np.nan
    rows = np.delete(np.arange(30), 7)
    with sharing_neighbours():
        np.testing.assert_array_equal(nearest_among(points, 3, rows)[1], nearest(points[rows], 3)[1])
        with pytest.raises(BadData, match="not finite in 1 rows, first 7"):
            nearest_among(points, 3)
