"""Components by brute force, and the floor that every rule of the group alone obeys."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument
from kintsugi.ops.components import components, error_floor


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_components_are_those_of_a_flood(case):
    count, pairs = case
    label = list(range(count))
    for _ in range(count):
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
    assert components(count, np.array(pairs).reshape(-1, 2)).tolist() == label


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=9))
def test_no_rule_of_the_group_makes_fewer_errors(samples):
    group, label = np.array(samples).T
    floor = error_floor(group, label)
    tried = [int((np.array(rule)[group] != label).sum()) for rule in itertools.product(range(3), repeat=3)]
    assert floor.errors == min(tried)
    assert floor.rate == floor.errors / len(samples)
    assert floor.conflicting.tolist() == [len(set(label[group == g])) > 1 for g in group]


def test_the_majority_and_its_absence():
    floor = error_floor(np.array([7, 7, 7, 2, 2, 5]), np.array([1, 1, 0, 3, 4, 2]))
    assert floor.majority.tolist() == [1, 1, 1, -1, -1, 2]
    assert floor.errors == 2


def test_nothing_and_bad_input():
    assert error_floor(np.zeros(0, int), np.zeros(0, int)).rate == 0
    assert len(components(0, np.zeros((0, 2), int))) == 0
    with pytest.raises(BadArgument, match="pairs"):
        components(2, np.array([[0, 2]]))
    with pytest.raises(BadArgument, match="label"):
        error_floor(np.zeros(2, int), np.zeros(3, int))
