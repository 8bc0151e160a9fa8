"""Overlap is one less the area under the curve, twice; one class under two names is found, a rare class is not."""

import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from kintsugi.audit.groups.class_overlap import ClassOverlap, auc
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet


def made(label, prob, held_out=True):
    names = [f"c{k}" for k in range(prob.shape[1])]
    data = ImageSet.from_arrays(np.zeros((len(label), 1, 1), np.uint8), label, names)
    return data, Outputs(data.ids, prob, held_out=held_out)


def audit(data, outputs, **options):
    return ClassOverlap(**options)(data, outputs, np.random.default_rng(0))


def digits(split, share=0.5, seed=0):
    """Cross-validated answers where digit ``split`` goes by two names, drawn by chance."""
    raw = load_digits()
    label = raw.target.copy()
    label[(label == split) & (np.random.default_rng(seed).random(len(label)) < share)] = 10
    model = LogisticRegression(C=0.001, max_iter=1000)
    return made(label, cross_val_predict(model, raw.data, label, cv=3, method="predict_proba"))


def test_the_area_is_sklearns_and_its_error_that_of_repeats():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 40).astype(float), rng.integers(1, 8, 60).astype(float)
    area, _ = auc(first, second)
    assert area == pytest.approx(roc_auc_score([0] * 40 + [1] * 60, np.r_[first, second]))
    repeats = [auc(rng.normal(0, 1, 40), rng.normal(0.7, 1, 60)) for _ in range(600)]
    assert np.std([a for a, _ in repeats]) == pytest.approx(np.mean([e for _, e in repeats]), rel=0.1)


def test_a_digit_under_two_names_is_found_and_no_other_pair():
    found = audit(*digits(3))
    assert [row.ids for row in found.flagged] == [("c3", "c10")]
    row = found.flagged[0]
    assert row.evidence["interval"][1] == 1.0
    assert min(row.evidence["confused"]) > 0.15 > max(row.evidence["chance"])
    assert found.summary.count == 1


def test_classes_hard_to_tell_apart_that_are_told_apart_are_listed_and_not_flagged():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 1000)
    p = 1 / (1 + np.exp(-(rng.standard_normal(2000) + 0.6 * label)))  # an overlap of 0.67
    (row,) = audit(*made(label, np.stack([1 - p, p], 1)))
    assert row.score == pytest.approx(0.67, abs=0.04)
    assert row.evidence["interval"][0] > 0.5
    assert not row.flagged


def test_a_rare_class_that_is_never_predicted_is_no_double_for_it():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [600, 40])
    lean = np.where(label == 1, rng.normal(-2.5, 0.7, 640), rng.normal(-6, 0.7, 640))  # told apart, far below one half
    p = 1 / (1 + np.exp(-lean))
    data, outputs = made(label, np.stack([1 - p, p], axis=1))
    assert (outputs.predicted == 0).all()
    (row,) = audit(data, outputs)
    assert not row.flagged
    assert row.score < 0.1


def test_chance_flags_are_rarer_than_promised():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):  # pairs whose overlap is exactly the limit
        shift = 0.9538726  # P(N(shift, 1) > N(0, 1)) = 0.75
        label = np.repeat([0, 1], 100)
        p = 1 / (1 + np.exp(-(rng.standard_normal(200) + shift * label)))
        alarms += bool(audit(*made(label, np.stack([1 - p, p], 1)), share=0.01).flagged)
    assert alarms <= 14  # 2.5% are promised on this side; 15 or more of 200 come with probability 0.0003


def test_ten_thousand_classes_two_samples_each_cannot_be_told_and_stay_small():
    kinds, count = 10_000, 400
    prob = np.full((count, kinds), 1 / kinds, dtype=np.float32)
    data, outputs = made(np.arange(count) // 2, prob)
    tracemalloc.start()
    found = audit(data, outputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert found.summary.count is None
    assert any("Cannot tell" in note for note in found.summary.notes)


def test_many_classes_are_compared_where_they_are_confused_alone():
    kinds, each = 2_000, 10
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(kinds), each)
    prob = np.full((len(label), kinds), 1e-7, dtype=np.float32)
    mate = label ^ 1
    p = rng.random(len(label)).astype(np.float32)
    prob[np.arange(len(label)), label], prob[np.arange(len(label)), mate] = p, 1 - p
    prob /= prob.sum(1, keepdims=True)
    found = audit(*made(label, prob), rivals=1)
    assert len(found) == kinds // 2
    assert all(int(a[1:]) ^ 1 == int(b[1:]) for a, b in (row.ids for row in found))


def test_what_it_cannot_use_is_refused():
    label, prob = np.array([0, 1]), np.eye(2)
    data, outputs = made(label, prob, held_out=False)
    with pytest.raises(BadArgument, match="trained on these samples"):
        audit(data, outputs)
    with pytest.raises(BadArgument, match="outputs"):
        audit(data, None)
    with pytest.raises(BadData, match="3 columns"):
        audit(data, Outputs(data.ids, np.full((2, 3), 1 / 3)))
    for name, value in (("overlap", 0), ("alike", 0.4), ("rivals", 0), ("share", 0), ("level", 1)):
        with pytest.raises(BadArgument, match=name):
            ClassOverlap(**{name: value})
