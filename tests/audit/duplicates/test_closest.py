"""Values change hands within groups alone, and go by nearness."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.audit.duplicates.closest import SURE, dealt


def by_hand(pairs, value, cosine):
    """Groups by walking, and one value after another."""
    sure = [place for place in range(len(pairs)) if value[place] > SURE]
    of = {row: [place for place in sure if row in pairs[place]] for place in sure for row in pairs[place]}
    best = {row: max(value[place] for place in places) for row, places in of.items()}
    group = {row: {row} for row in best}
    for place in sure:
        if any(value[place] == best[row] for row in pairs[place]):
            joined = set().union(*(group[row] for row in pairs[place]))
            for row in joined:
                group[row] = joined
    hands = {}
    for place in sure:  # each pair's group by its first row
        ends = [(-max(best[row] for row in group[end]), turn, min(group[end])) for turn, end in enumerate(pairs[place])]
        hands.setdefault(min(ends)[2], []).append(place)
    made = value.tolist()
    for own in hands.values():
        order = sorted(own, key=lambda place: (-cosine[place], -value[place], place))
        for place, share in zip(order, sorted((value[place] for place in own), reverse=True), strict=True):
            made[place] = share
    return made


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.sampled_from([1, 100]))
def test_as_by_hand_with_ties(seed, count, steps):
    rng = np.random.default_rng(seed)
    every = np.stack(np.triu_indices(12, 1), axis=1)
    pairs = rng.permutation(every)[:count].reshape(-1, 2)
    value, cosine = np.round(rng.normal(0.4, 0.5, len(pairs)), 1), rng.integers(0, 1 + steps, len(pairs)) / steps
    made = dealt(pairs, value, cosine, 12)
    assert made.tolist() == by_hand(pairs.tolist(), value, cosine)
    assert sorted(made) == sorted(value)
    unsure = value <= SURE
    assert (made[unsure] == value[unsure]).all()


def test_a_chain_of_look_alikes_is_no_group():
    # Two pictures with a copy each, which look alike: the value of one copy does not go to the look-alike pair.
    pairs, value = np.array([[0, 1], [0, 2], [2, 3]]), np.array([2.0, 0.5, 1.5])
    assert dealt(pairs, value, np.array([0.9, 0.1, 0.95]), 4).tolist() == value.tolist()
    # Of two copies of one picture the nearer one comes first.
    pairs = np.array([[0, 1], [0, 2], [3, 4]])
    assert dealt(pairs, value, np.array([0.9, 0.95, 0.99]), 5).tolist() == [0.5, 2.0, 1.5]


def test_of_no_pictures_and_no_pairs():
    none = np.zeros(0)
    assert dealt(np.zeros((0, 2), np.int64), none, none, 0).shape == (0,)
    assert dealt(np.zeros((0, 2), np.int64), none, none, 5).shape == (0,)
