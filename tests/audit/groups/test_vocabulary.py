"""Safety and imageability by hand, and gold questions against simulated random raters."""

import numpy as np
import pytest

from kintsugi.audit.groups.vocabulary import Vocabulary, trusted_raters
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet

CLASSES = ("drummer", "thinker", "slur")


def audit(**options):
    data = ImageSet.from_arrays(np.zeros((3, 2, 2), np.uint8), [0, 1, 2], CLASSES)
    return Vocabulary(**options)(data, None, np.random.default_rng(0))


def rated(concept, ratings, start=0):
    return [(f"r{start + i}", concept, rating) for i, rating in enumerate(ratings)]


def test_without_ratings_nothing_can_be_told():
    found = audit()
    assert not len(found)
    assert found.summary.count is None
    assert sum("cannot be told" in note for note in found.summary.notes) == 2


def test_marks_go_with_most_and_of_level_ones_with_the_graver():
    marks = [("x", "drummer", "safe"), ("y", "drummer", "safe"), ("z", "drummer", "unsafe")]
    marks += [("x", "thinker", "safe"), ("y", "thinker", "sensitive")]
    marks += [(r, "slur", "unsafe") for r in "xyz"]
    found = audit(safety=marks)
    assert {row.ids[0]: row.check for row in found.flagged} == {
        "thinker": "sensitive_concept",
        "slur": "unsafe_concept",
    }
    assert found.rows[0].ids == ("slur",)
    assert found.summary.count == 2


def test_a_low_mean_is_dropped_and_a_disputed_one_left_open():
    ratings = rated("drummer", [5] * 6 + [4] * 6) + rated("thinker", [1, 2] * 6) + rated("slur", [1, 5] * 6)
    found = audit(imageability=ratings)
    assert {row.ids[0]: row.check for row in found} == {"thinker": "not_imageable", "slur": "imageability_open"}
    assert [row.ids[0] for row in found.flagged] == ["thinker"]
    mean = next(row for row in found if row.ids == ("slur",)).evidence
    assert (mean["mean"], mean["raters"]) == (3.0, 12)


def test_too_few_raters_decide_nothing():
    found = audit(imageability=rated("drummer", [1] * 9))
    assert {row.check for row in found} == {"too_few_raters"}
    assert not found.flagged


def panel(seed, good=20, random=20, golds=12):
    """Raters who err by 0.7 around the truth, and raters who answer anything."""
    rng = np.random.default_rng(seed)
    gold = {f"gold {i}": ((4, 5) if i % 2 else (1, 2)) for i in range(golds)}
    truth = {name: 4.7 if low == 4 else 1.3 for name, (low, _) in gold.items()} | {
        "drummer": 4.6,
        "thinker": 1.5,
        "slur": 2.5,
    }
    ratings = []
    for concept, true in truth.items():
        for r in range(good):
            ratings.append((f"good {r}", concept, int(np.clip(round(rng.normal(true, 0.7)), 1, 5))))
        ratings += [(f"random {r}", concept, int(rng.integers(1, 6))) for r in range(random)]
    return ratings, gold


def test_gold_questions_find_random_raters():
    out, lost = [], []
    for seed in range(20):
        kept = trusted_raters(*panel(seed), 0.7)
        out.append(sum(name.startswith("random") for name in kept) / 20)
        lost.append(1 - sum(name.startswith("good") for name in kept) / 20)
    assert np.mean(out) < 0.1  # nine in ten are found out
    assert np.mean(lost) < 0.1


def test_random_raters_do_not_move_what_is_concluded():
    ratings, gold = panel(0)
    found = audit(imageability=ratings, gold=gold)
    assert {row.ids[0] for row in found.flagged} == {"thinker", "slur"}
    assert any("left out" in note for note in found.summary.notes)
    assert "drummer" not in {row.ids[0] for row in found}
    assert "drummer" in {row.ids[0] for row in audit(imageability=ratings)}  # their noise opens what is plain


def test_who_answered_no_gold_question_is_left_out():
    assert trusted_raters([("a", "x", 3), ("b", "gold", 5), ("b", "x", 1)], {"gold": (4, 5)}, 0.7) == {"b"}
    assert trusted_raters([("a", "x", 3)], None, 0.7) == {"a"}


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (BadArgument, {"safety": [("a", "x", "odd")]}),
        (BadArgument, {"imageability": [("a", "x", 6)]}),
        (BadData, {"imageability": [("a", "x", 1), ("a", "x", 2)]}),
        (BadArgument, {"keep": 1.0}),
    ],
)
def test_bad_ratings_are_refused_by_name(error, options):
    with pytest.raises(error, match=next(iter(options))):
        Vocabulary(**options)
