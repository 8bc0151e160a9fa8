"""Metrics on sets of valid labels against loops over images, and numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.metrics.drop_decomposition import DropDecomposition
from kintsugi.metrics.multi_label_accuracy import MultiLabelAccuracy
from kintsugi.metrics.strata import stratified_mean
from kintsugi.ops.statistics import wilson


def case(seed, n=80, classes=5):
    rng = np.random.default_rng(seed)
    prob = np.round(rng.dirichlet(np.ones(classes), n), 1) + 0.01  # ties abound
    prob /= prob.sum(1, keepdims=True)
    correct, unclear = rng.random((n, classes)) < 0.3, rng.random((n, classes)) < 0.15
    return prob, rng.integers(0, classes, n), correct, unclear & ~correct, rng.random(n) < 0.1


def by_hand(prob, label, correct, unclear, skip):
    """The card's definitions, image by image."""
    per_class, real, top, exact, by_k = {}, [], [], [], {}
    for p, y, good, doubt, bad in zip(prob, label, correct, unclear, skip, strict=True):
        if bad or not (good | doubt).any():
            continue
        order = sorted(range(len(p)), key=lambda k: (-p[k], k))
        right = bool(good[order[0]] or doubt[order[0]])
        per_class.setdefault(int(y), []).append(right)
        real.append(right)
        k = int(good.sum())
        if k:
            first = set([one for one in order if not doubt[one]][:k])
            share = len(first & set(np.flatnonzero(good).tolist())) / k
            top.append(share)
            exact.append(share == 1)
            by_k.setdefault(k, []).append(share)
    return {
        "value": np.mean([np.mean(v) for v in per_class.values()]),
        "real": np.mean(real),
        "variable_topk": np.mean(top),
        "exact_match": np.mean(exact),
        "asma": np.mean([np.mean(v) for v in by_k.values()]),
        "sizes": {k: len(v) for k, v in by_k.items()},
    }


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_every_number_is_that_of_the_loop(seed):
    prob, label, correct, unclear, skip = case(seed)
    metric = MultiLabelAccuracy()
    metric.update(prob, label, correct=correct, unclear=unclear, skip=skip)
    made, want = metric.compute(), by_hand(prob, label, correct, unclear, skip)
    assert made["value"] == pytest.approx(want["value"])
    for name in ("real", "variable_topk", "exact_match", "asma"):
        assert made[name]["value"] == pytest.approx(want[name])
        low, high = made[name]["interval"]
        assert low <= made[name]["value"] <= high
    assert {row["k"]: row["count"] for row in made["by_k"]} == want["sizes"]
    assert made["left_out"]["problematic"] == skip.sum()
    assert made["left_out"]["empty"] == (~skip & ~(correct | unclear).any(1)).sum()


def test_with_single_labels_all_is_top_1():
    prob, label, *_ = case(3)
    metric = MultiLabelAccuracy()
    metric.update(prob, label)
    made = metric.compute()
    share = (prob.argmax(1) == label).mean()
    assert {made[name]["value"] for name in ("real", "top1", "variable_topk", "exact_match", "asma")} == {share}


def test_classes_weigh_the_same_and_problematic_images_nothing():
    prob = np.eye(3)[[0, 0, 0, 0, 1, 1, 2]]
    label = np.array([0, 0, 0, 0, 1, 0, 2])
    skip = np.array([0, 0, 0, 0, 0, 0, 1], bool)
    unclear = np.zeros((7, 3), bool)
    unclear[5, 1] = True  # one person in two says 1
    metric = MultiLabelAccuracy()
    metric.update(prob, label, correct=np.eye(3, dtype=bool)[label], unclear=unclear, skip=skip)
    made = metric.compute()
    assert made["value"] == 1.0
    assert made["top1"]["value"] == pytest.approx(5 / 6)
    assert [row["label"] for row in made["classes"]] == [0, 1]


def test_flags_of_another_shape_are_refused_by_name():
    prob, label, correct, *_ = case(0)
    with pytest.raises(BadArgument, match="correct"):
        MultiLabelAccuracy().update(prob, label, correct=correct[:, :2])
    with pytest.raises(BadArgument, match="skip"):
        MultiLabelAccuracy().update(prob, label, skip=np.zeros(len(label)))


def test_one_stratum_is_wilson_with_one_sample_more_of_doubt():
    value, (low, high) = stratified_mean([400], [380])
    want = wilson(380, 400)
    assert value == 0.95
    assert (low, high) == pytest.approx(tuple(map(float, want)), abs=2e-3)


@pytest.mark.parametrize(("size", "classes"), [(5, 40), (20, 10)])
def test_the_interval_of_a_mean_over_classes_covers(size, classes):
    rng, inside = np.random.default_rng(0), []
    truth = rng.beta(9, 1, classes)
    for _ in range(400):
        _, (low, high) = stratified_mean(np.full(classes, size), rng.binomial(size, truth))
        inside.append(low <= truth.mean() <= high)
    assert 0.92 <= np.mean(inside) <= 0.99


def test_a_sample_without_replacement_is_surer_and_a_census_certain():
    n, t = np.array([20, 20]), np.array([16, 18])
    (_, some), (_, half), (_, whole) = (stratified_mean(n, t, population=[p, p]) for p in (10_000, 40, 20))
    assert some[1] - some[0] > half[1] - half[0] > 0
    assert whole == pytest.approx((0.85, 0.85))


def drop(n=4000, gap=0.0, score="top1", seed=0):
    """Set A has 15% images of two labels, B 50%; one of two is the single label, so top-1 halves on those."""
    rng = np.random.default_rng(seed)
    metric = DropDecomposition(score=score, draws=500)
    for which, share in ((0, 0.15), (1, 0.5)):
        two = rng.random(n) < share
        label = rng.integers(0, 4, n)
        other = (label + rng.integers(1, 4, n)) % 4
        correct = np.eye(4, dtype=bool)[label]
        correct[two, other[two]] = True
        seen = rng.random(n) < 0.9 - gap * which
        says = np.where(two & (rng.random(n) < 0.5), other, label)
        says = np.where(seen, says, (says + 1) % 4)
        metric.update(np.eye(4)[says] * 0.9 + 0.025, label, np.full(n, which), correct=correct)
    return metric.compute()


def test_a_drop_of_several_labels_alone_is_told_so():
    made = drop()
    assert made["gap"]["value"] > 0.12
    assert abs(made["value"]) < 0.03
    low, high = made["interval"]
    assert low < 0 < high
    assert made["multi_label"]["value"] == pytest.approx(made["gap"]["value"] - made["value"])


def test_a_drop_of_the_model_stays_when_matched():
    made = drop(gap=0.2)
    want = 0.85 * 0.2 + 0.15 * 0.1  # at k=2 half of what is lost was the other label anyway, save lucky guesses
    assert made["value"] == pytest.approx(want, abs=0.04)
    assert made["interval"][0] > 0.1


def test_the_parts_are_the_cards_sums():
    made = drop(n=300, seed=1)
    a = {row["k"]: row["first"] for row in made["by_k"]}
    b = {row["k"]: row["second"] for row in made["by_k"]}
    want = sum(a[k]["count"] / 300 * (a[k]["value"] - b[k]["value"]) for k in a)
    assert made["value"] == pytest.approx(want)
    assert made["multi_label"]["value"] == pytest.approx(
        sum((a[k]["count"] - b[k]["count"]) / 300 * b[k]["value"] for k in a)
    )


def test_what_cannot_be_matched_is_told_and_nothing_common_refused():
    metric = DropDecomposition(draws=100)
    two = np.array([[1, 1, 0]], bool)
    one = np.array([[1, 0, 0]], bool)
    p, y = np.array([[0.5, 0.3, 0.2]]), np.array([0])
    metric.update(p, y, np.array([0]), correct=two)
    metric.update(p, y, np.array([1]), correct=one)
    with pytest.raises(BadData, match="share no number"):
        metric.compute()
    metric.update(p, y, np.array([1]), correct=two)
    assert metric.compute()["unmatched"] == {"first": 0.0, "second": 0.5}


def test_equal_groups_are_refused():
    with pytest.raises(BadArgument, match="second"):
        DropDecomposition(first=1, second=1)
