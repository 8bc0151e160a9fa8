"""Localisation error and detection AP against brute force, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.metrics.detection_map import Boxes, detection_map
from kintsugi.metrics.localization_error import localization_error, overlap


def cells(box):
    x1, y1, x2, y2 = (int(v) for v in box)
    return {(x, y) for x in range(x1, x2 + 1) for y in range(y1, y2 + 1)}


def boxes(rng, n, size=14):
    low = rng.integers(0, size, (n, 2))
    return np.concatenate([low, low + rng.integers(0, size // 2, (n, 2))], 1).astype(float)


def test_both_ends_of_a_box_are_inside():
    assert overlap([[0, 0, 0, 0]], [[0, 0, 0, 0]]) == 1.0
    assert overlap([[0, 0, 1, 0]], [[1, 0, 2, 0]])[0, 0] == pytest.approx(1 / 3)
    assert overlap([[0, 0, 1, 1]], [[2, 0, 3, 1]])[0, 0] == 0.0


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_overlap_is_that_of_counted_pixels(seed):
    rng = np.random.default_rng(seed)
    a, b = boxes(rng, 4), boxes(rng, 5)
    want = [[len(cells(p) & cells(q)) / len(cells(p) | cells(q)) for q in b] for p in a]
    np.testing.assert_allclose(overlap(a, b), want)


def test_localisation_needs_class_and_box_among_the_first_k():
    true = [[[0, 0, 9, 9], [20, 20, 29, 29]]] * 4
    near, far = [20, 20, 29, 27], [0, 0, 3, 3]
    guesses = [
        [(1, far), (0, near)],  # the second guess is right
        [(0, far)],  # class alone
        [(1, near)],  # box alone
        [(1, far), (1, far), (0, near)],  # too late for k = 2
    ]
    made = localization_error(guesses, [0, 0, 0, 0], true, k=2)
    assert made["value"] == 0.75
    assert made["class_error"]["value"] == 0.5
    assert localization_error(guesses, [0] * 4, true, k=3)["value"] == 0.5


def test_what_cannot_be_localised_is_refused():
    with pytest.raises(BadData, match="no box"):
        localization_error([[(0, [0, 0, 1, 1])]], [0], [[]])
    with pytest.raises(BadData, match="is no box"):
        overlap([[3, 0, 1, 1]], [[0, 0, 1, 1]])
    with pytest.raises(BadArgument, match="k"):
        localization_error([[]], [0], [[[0, 0, 1, 1]]], k=0)


def brute(found, objects, rule):
    """Greedy matching and the envelope, in plain loops; scores are distinct."""
    answers = []
    for k in sorted(set(objects.label.tolist())):
        truth = [(i, b) for i, c, b in zip(objects.image, objects.label, objects.box, strict=True) if c == k]
        said = [
            (s, i, b) for s, i, c, b in zip(found.score, found.image, found.label, found.box, strict=True) if c == k
        ]
        taken, hits = set(), []
        for _, i, b in sorted(said, key=lambda row: -row[0]):
            best, place = -1.0, None
            for j, (other, t) in enumerate(truth):
                w, h = t[2] - t[0] + 1, t[3] - t[1] + 1
                least = min(0.5, w * h / ((w + 10) * (h + 10))) if rule else 0.5
                shared = len(cells(b) & cells(t)) / len(cells(b) | cells(t))
                if other == i and j not in taken and shared >= least and shared > best:
                    best, place = shared, j
            hits.append(place is not None)
            taken |= {place}
        area, recall = 0.0, 0.0
        for n in range(1, len(hits) + 1):
            r = sum(hits[:n]) / len(truth)
            area += (r - recall) * max(sum(hits[:m]) / m for m in range(n, len(hits) + 1))
            recall = r
        answers.append(area)
    return np.mean(answers)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_average_precision_is_brute_force(seed, rule):
    rng = np.random.default_rng(seed)
    objects = Boxes(rng.integers(0, 3, 8), rng.integers(0, 2, 8), boxes(rng, 8))
    near = objects.box[rng.integers(0, 8, 15)] + rng.integers(-1, 2, (15, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
    found = Boxes(rng.integers(0, 3, 15), rng.integers(0, 3, 15), near, rng.permutation(15) / 15.0)
    assert detection_map(found, objects, small_object_rule=rule)["value"] == pytest.approx(brute(found, objects, rule))


def one(box, score=None):
    return Boxes(np.array([0]), np.array([0]), np.array([box], float), None if score is None else np.array([score]))


def test_small_objects_are_forgiven_a_few_pixels():
    small, off = [0, 0, 7, 7], [3, 3, 10, 10]  # overlap 25 / 103, asked 64 / 324
    assert detection_map(one(off, 0.9), one(small))["value"] == 1.0
    assert detection_map(one(off, 0.9), one(small), small_object_rule=False)["value"] == 0.0


def test_a_second_detection_of_an_object_is_false():
    box = np.array([[0, 0, 9, 9]] * 2, float)
    twice = Boxes(np.array([0, 0]), np.array([0, 0]), box, np.array([0.9, 0.8]))
    two = Boxes(np.array([0, 1]), np.array([0, 0]), box)
    assert detection_map(twice, two)["value"] == 0.5
    assert detection_map(twice, one([0, 0, 9, 9]))["value"] == 1.0


def test_equal_scores_are_one_threshold_whatever_their_order():
    box = np.array([[0, 0, 9, 9], [50, 50, 59, 59]], float)
    for order in ([0, 1], [1, 0]):
        found = Boxes(np.array([0, 0]), np.array([0, 0]), box[order], np.array([0.5, 0.5]))
        assert detection_map(found, one([0, 0, 9, 9]))["value"] == 0.5


def test_no_object_and_no_score_are_refused():
    none = Boxes(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)))
    with pytest.raises(BadData, match="no object"):
        detection_map(one([0, 0, 1, 1], 0.5), none)
    with pytest.raises(BadData, match="no score"):
        detection_map(one([0, 0, 1, 1]), one([0, 0, 1, 1]))
    assert detection_map(Boxes(none.image, none.label, none.box, np.zeros(0)), one([0, 0, 1, 1]))["value"] == 0.0
