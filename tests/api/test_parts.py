"""The three parts: the data's own where it names them, cut at random and stratified where it does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.api.parts import divide
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet


def some(n=100, split=None, **columns):
    made = ImageSet.from_arrays(np.zeros((n, 2, 2), np.uint8), np.arange(n) % 2, ["a", "b"], **columns)
    return made if split is None else made.with_column("split", split)


@pytest.mark.parametrize("names", [("train", "val", "test"), (0, 1, 2), ("Training", "valid", "holdout")])
def test_the_datas_own_splits_are_used(names):
    parts = divide(some(split=[names[k] for k in np.arange(100) % 3]))
    assert [len(p) for p in (parts.train, parts.select, parts.holdout)] == [34, 33, 33]
    assert not parts.notes


@pytest.mark.parametrize(
    "split", [None, ["train"] * 100, ["train"] * 80 + ["test"] * 20, ["train"] * 60 + ["val"] * 40]
)
def test_missing_splits_are_cut_off_and_said(split):
    data = some(split=split)
    parts = divide(data)
    ids = [set(p.ids) for p in (parts.train, parts.select, parts.holdout)]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 100
    assert all(abs(p.labels.mean() - 0.5) < 0.06 for p in (parts.train, parts.select, parts.holdout))
    assert parts.notes
    if split and "test" in split:
        assert ids[2] == set(data.split("test").ids)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_clusters_stay_whole(seed):
    data = some(120, patient=[f"p{k // 4}" for k in range(120)])
    parts = divide(data, seed=seed, cluster="patient")
    names = [set(p.column("patient")) for p in (parts.train, parts.select, parts.holdout)]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]


def test_bad_splits_are_answered():
    with pytest.raises(BadArgument, match="'fold7'"):
        divide(some(split=["fold7"] * 100))
    with pytest.raises(BadData, match="training"):
        divide(some(split=["test"] * 100))
    with pytest.raises(BadArgument, match="'nobody'"):
        divide(some(), cluster="nobody")
    with pytest.raises(BadData, match="empty"):
        divide(some(2))
