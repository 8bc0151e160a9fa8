"""Shuffled: a partition of the rows, whatever the sizes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.data.imageset import ImageSet
from kintsugi.training.sampling.shuffled import Shuffled


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 70), last=st.sampled_from(["even", "keep", "drop"]))
def test_every_row_once(count, size, last):
    sampler = Shuffled(last)
    sampler.setup(ImageSet.from_arrays(np.zeros((count, 1, 1), np.uint8), [0] * count))
    batches = list(sampler.epoch(0, size, np.random.default_rng(0)))
    lengths = [len(rows) for rows in batches]
    rows = np.concatenate(batches)
    assert len(set(rows.tolist())) == len(rows)
    assert max(lengths) <= size
    if last == "drop" and count >= size:
        assert set(lengths) == {size}
        assert len(rows) == count // size * size
    else:
        assert sorted(rows) == list(range(count))
        assert len(lengths) == -(-count // size)
    if last == "even":
        assert max(lengths) - min(lengths) <= 1


def test_orders_are_uniform():
    sampler = Shuffled()
    sampler.setup(ImageSet.from_arrays(np.zeros((4, 1, 1), np.uint8), [0] * 4))
    rng = np.random.default_rng(0)
    firsts = [int(next(iter(sampler.epoch(0, 4, rng)))[0]) for _ in range(4000)]
    assert np.abs(np.bincount(firsts) / 4000 - 0.25).max() < 0.03
