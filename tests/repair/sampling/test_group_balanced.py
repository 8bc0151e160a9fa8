"""Balanced sampling against the shares it promises."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.repair.sampling.group_balanced import GroupBalanced
from kintsugi.repair.sampling.mixed_share import MixedShare

GROUP = np.array([0] * 70 + [1] * 20 + [2] * 10)


def data(**columns):
    return ImageSet.from_arrays(np.zeros((100, 1, 1), np.uint8), [0] * 60 + [1] * 40, ("a", "b"), **columns)


def drawn(sampler, made, number=0, batch_size=8):
    sampler.setup(made)
    return np.concatenate(list(sampler.epoch(number, batch_size, np.random.default_rng(number))))


@pytest.mark.parametrize("mode", ["rwg", "rwy"])
def test_reweighting_is_the_weighted_sampler(mode):
    made = data(group=GROUP)
    key = GROUP if mode == "rwg" else made.labels
    rows = np.concatenate([drawn(GroupBalanced(mode), made, number) for number in range(200)])
    expected = 1.0 / np.bincount(key)[key] / len(np.bincount(key))  # each sample: 1 / (groups x size of its group)
    found = np.bincount(rows, minlength=100) / len(rows)
    assert len(rows) == 200 * 100
    assert (np.abs(found - expected) < 5 * np.sqrt(expected / len(rows))).all()


def test_subsampling_cuts_to_the_smallest():
    made = data(group=GROUP)
    rows = drawn(GroupBalanced("subg"), made)
    assert np.bincount(GROUP[rows]).tolist() == [10, 10, 10]
    assert len(set(rows)) == 30
    assert set(drawn(GroupBalanced("subg"), made, 1)) == set(rows), "one cut for all epochs"
    assert set(drawn(GroupBalanced("subg", redraw=True), made, 1)) != set(
        drawn(GroupBalanced("subg", redraw=True), made)
    )
    assert np.bincount(made.labels[drawn(GroupBalanced("suby"), made)]).tolist() == [40, 40]


def test_unknown_groups_are_refused():
    with pytest.raises(BadData, match="no column 'group'"):
        GroupBalanced().setup(data())
    with pytest.raises(BadData, match="10 have none"):
        GroupBalanced().setup(data(group=np.where(GROUP == 2, -1, GROUP)))


def test_mixed_share_holds_its_shares():
    origin = ["generated"] * 7 + ["real"] * 93
    sampler = MixedShare()
    sampler.setup(data(origin=origin))
    batches = list(sampler.epoch(0, 8, np.random.default_rng(0)))
    assert len(batches) == 24  # 93 real, 4 a batch
    for rows in batches:
        assert (rows < 7).sum() == 4
        assert len(rows) == 8
    counts = np.bincount(np.concatenate(batches), minlength=100)
    assert counts[:7].max() - counts[:7].min() <= 1
    assert set(counts[7:]) <= {1, 2}
    assert (counts[7:] == 2).sum() == 24 * 4 - 93
    sampler = MixedShare(shares={"real": 3, "generated": 1})
    sampler.setup(data(origin=origin))
    assert sampler.counts(10).tolist() in ([2, 8], [3, 7])
    assert sampler.counts(8).tolist() == [2, 6]
    with pytest.raises(BadArgument, match="batch_size"):
        sampler.counts(1)
    with pytest.raises(BadArgument, match="shares"):
        MixedShare(shares={"real": 1.0}).setup(data(origin=origin))
    with pytest.raises(BadArgument, match="origin"):
        MixedShare().setup(data())
