"""Every sampler keeps the contract of its kind."""

import numpy as np
import pytest
from training_methods import COUNT, GlobalStateUntouched, check_bad_parameters_are_named, data, ready

from kintsugi.core.registry import of_kind

ENTRIES = of_kind("sampler")


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.card.name)
def entry(request):
    return request.param


def epoch(sampler, number, size, seed):
    return list(sampler.epoch(number, size, np.random.default_rng(seed)))


def test_there_are_samplers():
    assert {"shuffled", "group_balanced", "mixed_share"} <= {entry.card.name for entry in ENTRIES}


@pytest.mark.parametrize("size", [5, 8, 48, 100])
def test_batches_are_rows_of_the_data(entry, size):
    sampler = ready(entry)
    with GlobalStateUntouched():
        batches = epoch(sampler, 0, size, 0)
    assert batches
    for rows in batches:
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == np.int64
        assert 1 <= len(rows) <= size
        assert rows.min() >= 0
        assert rows.max() < COUNT


def test_same_stream_same_order_whatever_came_before(entry):
    one, other = ready(entry), ready(entry)
    epoch(one, 0, 8, 1)
    first, second = epoch(one, 3, 8, 7), epoch(other, 3, 8, 7)
    assert len(first) == len(second)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(np.concatenate(first), np.concatenate(epoch(one, 3, 8, 8)))


def test_the_data_is_untouched(entry):
    made = data()
    before = made.table
    sampler = ready(entry)
    sampler.setup(made)
    epoch(sampler, 0, 8, 0)
    assert made.table.equals(before)


def test_bad_parameters_are_refused_by_name(entry):
    check_bad_parameters_are_named(entry)
