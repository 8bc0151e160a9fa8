"""Groups by the card's loop, by networkx-like search, and by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.audit.duplicates.grouping import capped, duplicate_groups, nearest_of_each, report, unique_pairs

PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda p: p[0] != p[1]), max_size=20)


def visited(count, pairs):
    """The card's words as they stand."""
    label = list(range(count))
    for n in range(count):
        for a, b in sorted(pairs):
            for m in {a, b} - {n} if n in (a, b) else ():
                if m > n and label[m] == m:
                    label[m] = n
    while any(label[label[i]] != label[i] for i in range(count)):
        label = [label[label[i]] for i in range(count)]
    return label


def reached(count, pairs):
    name = list(range(count))
    for _ in range(count):
        for a, b in pairs:
            name[a] = name[b] = min(name[a], name[b])
    return name


@settings(max_examples=80, deadline=None)
@given(PAIRS)
def test_groups_are_those_of_the_loop_and_of_a_search(pairs):
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    assert duplicate_groups(12, rows).tolist() == visited(12, pairs)
    assert duplicate_groups(12, rows, "components").tolist() == reached(12, pairs)


def test_greedy_labels_are_not_components():
    rows = np.array([[0, 3], [1, 3], [2, 3]])
    assert duplicate_groups(4, rows).tolist() == [0, 1, 2, 0]
    assert duplicate_groups(4, rows, "components").tolist() == [0, 0, 0, 0]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=12, max_size=12), st.sampled_from(["greedy", "components"]))
def test_all_of_a_capped_group_are_near_its_first(place, mode):
    place = np.array(place)
    near = lambda rows: np.abs(place[rows[:, 0]] - place[rows[:, 1]]) <= 1  # noqa: E731
    every = np.stack(np.triu_indices(12, 1), axis=1)
    pairs = every[near(every)]
    label = capped(duplicate_groups(12, pairs, mode), pairs, near)
    assert (label <= np.arange(12)).all()
    assert (label[label] == label).all()
    assert near(np.stack([label, np.arange(12)], axis=1)).all()
    lonely = np.flatnonzero(np.bincount(label, minlength=12)[label] == 1)
    if mode == "components":  # two single rows that are near would have been joined
        assert not any(near(np.array([[a, b]]))[0] for a in lonely for b in lonely if a < b)


def test_a_report_counts_groups_and_leaks():
    found = report(np.array([0, 0, 2, 2, 2, 5]), np.array(["train", "test", "train", "train", "train", "test"]))
    assert found == {"unique": 3, "duplicates": 3, "sizes": {1: 1, 2: 1, 3: 1}, "leaks": {"test+train": 1}}
    assert report(np.zeros(0, int)) == {"unique": 0, "duplicates": 0, "sizes": {}}


@given(PAIRS)
def test_pairs_are_sorted_and_listed_once(pairs):
    rows, first = unique_pairs(np.array(pairs, np.int64).reshape(-1, 2))
    assert [tuple(row) for row in rows.tolist()] == sorted({(min(p), max(p)) for p in pairs})
    assert [(min(pairs[i]), max(pairs[i])) for i in first] == [tuple(row) for row in rows.tolist()]


def test_the_nearest_of_each_are_kept_and_ties_go_to_the_lower_row():
    rows = np.array([[0, 5], [0, 3], [0, 4], [1, 2]])
    kept, value, more = nearest_of_each(rows, np.array([0.5, 0.5, 0.9, 0.1]), 2)
    assert kept.tolist() == [[0, 4], [0, 3], [1, 2]]
    assert value.tolist() == [0.9, 0.5, 0.1]
    assert more.tolist() == [0]
