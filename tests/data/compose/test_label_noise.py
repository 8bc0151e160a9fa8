"""Rates and transition matrices against closed forms, on many labels; the traps of the official code one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.label_noise import (
    NOISES,
    ClassDependent,
    CrowdMajority,
    DissentingLabel,
    InstanceDependent,
    Labelled,
    noise_model,
)

N, K = 40_000, 5
RNG = np.random.default_rng(0)
LABEL = RNG.integers(K, size=N)
VOTES = np.where(RNG.random((N, 3)) < 0.3, RNG.integers(K, size=(N, 3)), LABEL[:, None])
CONFUSION = np.array([[80, 20, 0, 0, 0], [5, 90, 5, 0, 0], [0, 0, 60, 40, 0], [0, 0, 10, 90, 0], [0, 0, 0, 0, 7]])
KNOWN = Labelled(LABEL, K, RNG.standard_normal((N, 4)), CONFUSION, VOTES)


def measured(noisy):
    table = np.zeros((K, K))
    np.add.at(table, (LABEL, noisy), 1)
    return table / table.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["uniform", "asymmetric", "class_dependent"])
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_given_labels_follow_the_transition_matrix(name, rate):
    model = noise_model(name, rate)
    noisy = model(KNOWN, np.random.default_rng(1))
    expected = model.transition(KNOWN)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    np.testing.assert_allclose(measured(noisy), expected, atol=0.02)  # 5 standard errors of 8000 draws at most
    assert (noisy != LABEL).mean() == pytest.approx(rate, abs=0.01)


def test_uniform_noise_spares_no_class_and_asymmetric_counts_exactly():
    table = noise_model("uniform", 0.4).transition(KNOWN)
    assert table[0].tolist() == [0.6, 0.1, 0.1, 0.1, 0.1]
    small = Labelled(np.arange(5), K)
    noisy = noise_model("asymmetric", 0.7)(small, np.random.default_rng(0))
    assert (noisy != small.label).sum() == 3  # int(3.5)
    assert set((noisy - small.label) % K) <= {0, 1}


def test_class_dependent_noise_is_the_confusion_matrix_and_not_its_transpose():
    rows = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(ClassDependent().transition(KNOWN), rows)
    np.testing.assert_allclose(measured(ClassDependent()(KNOWN, np.random.default_rng(2))), rows, atol=0.025)
    scaled = ClassDependent(0.3).transition(KNOWN)
    assert scaled[0, 1] > 0.2
    assert scaled[4, 4] == 1  # a class never confused stays
    np.testing.assert_allclose(scaled[1, [0, 2]] / (1 - scaled[1, 1]), 0.5)
    high = ClassDependent(0.7).transition(KNOWN)  # a row can lose no more than all; the others make up for it
    assert high[2, 2] == 0
    assert (np.bincount(LABEL) / N) @ (1 - high.diagonal()) == pytest.approx(0.7)
    with pytest.raises(BadArgument, match="rate"):
        ClassDependent(0.9).transition(KNOWN)
    with pytest.raises(BadData, match="no confusion"):
        ClassDependent(0.1).transition(Labelled(LABEL, K, confusion=np.eye(K)))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.4])
def test_instance_dependent_rates_are_a_truncated_normal_in_natural_units(rate):
    low, high = (0 - rate) / 0.1, (1 - rate) / 0.1
    mean = rate + 0.1 * (norm.pdf(low) - norm.pdf(high)) / (norm.cdf(high) - norm.cdf(low))
    noisy = InstanceDependent(rate)(KNOWN, np.random.default_rng(3))
    assert (noisy != LABEL).mean() == pytest.approx(mean, abs=0.01)
    if rate == 0.4:  # bounds 0 and 1 in units of the spread would give 0.446
        assert (noisy != LABEL).mean() < 0.42


def test_instance_dependent_noise_depends_on_the_image():
    """Samples alike go to one class: with the features repeated, wrong labels agree far more than by chance."""
    features = np.repeat(np.random.default_rng(0).standard_normal((40, 6)) * 3, 1000, axis=0)
    label = np.zeros(N, dtype=np.int64)
    noisy = InstanceDependent(0.5)(Labelled(label, K, features), np.random.default_rng(1))
    shares = [np.bincount(part[part > 0], minlength=K).max() / (part > 0).sum() for part in np.split(noisy, 40)]
    assert np.mean(shares) > 0.6  # 0.25 by chance


@pytest.mark.parametrize("name", ["dissenting_label", "dissenting_worker"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_dissent_reaches_its_rate_and_is_what_somebody_said(name, rate):
    noisy = noise_model(name, rate)(KNOWN, np.random.default_rng(4))
    wrong = noisy != LABEL
    assert wrong.sum() == rate * N
    assert (VOTES[wrong] == noisy[wrong, None]).any(axis=1).all()


def test_a_dissenting_worker_is_used_up_before_the_next():
    noisy = noise_model("dissenting_worker", 0.1)(KNOWN, np.random.default_rng(5))
    wrong = noisy != LABEL
    assert max((VOTES[wrong, a] == noisy[wrong]).mean() for a in range(3)) == 1.0
    spread = DissentingLabel(0.1)(KNOWN, np.random.default_rng(5))
    wrong = spread != LABEL
    assert max((VOTES[wrong, a] == spread[wrong]).mean() for a in range(3)) < 0.6


def test_of_several_dissenting_labels_each_is_as_likely():
    votes = np.tile([1, 1, 1, 2], (8000, 1))
    noisy = DissentingLabel(1.0)(Labelled(np.zeros(8000, int), 3, votes=votes), np.random.default_rng(0))
    assert (noisy == 1).mean() == pytest.approx(0.5, abs=0.03)


def test_crowd_majority():
    votes = np.array([[1, 1, 0], [0, 2, -1], [-1, -1, -1], [2, 2, 2]])
    label = np.array([0, 0, 1, 2])
    drawn = np.stack([CrowdMajority()(Labelled(label, 3, votes=votes), np.random.default_rng(s)) for s in range(200)])
    assert (drawn[:, [0, 2, 3]] == [1, 1, 2]).all()
    assert set(drawn[:, 1]) == {0, 2}
    assert (drawn[:, 1] == 0).mean() == pytest.approx(0.5, abs=0.15)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(NOISES)), st.integers(0, 40), st.integers(2, 6), st.integers(0, 999))
def test_labels_stay_in_range_and_the_truth_is_not_touched(name, n, k, seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(k, size=n)
    votes = (label[:, None] + np.arange(1, 3)) % k if k > 2 else 1 - label[:, None]
    known = Labelled(label.copy(), k, rng.standard_normal((n, 3)), rng.integers(1, 9, (k, k)), votes)
    model = noise_model(name, None if name == "crowd_majority" else 0.3)
    noisy = model(known, np.random.default_rng(seed))
    assert noisy.shape == (n,)
    assert noisy.dtype == np.int64
    assert ((noisy >= 0) & (noisy < k)).all()
    np.testing.assert_array_equal(known.label, label)
    np.testing.assert_array_equal(noisy, model(known, np.random.default_rng(seed)))


def test_what_is_missing_or_wrong_is_named():
    plain = Labelled(LABEL[:9], K)
    for name, field in (
        ("class_dependent", "confusion"),
        ("instance_dependent", "features"),
        ("crowd_majority", "votes"),
    ):
        with pytest.raises(BadData, match=field):
            noise_model(name)(plain, np.random.default_rng(0))
    with pytest.raises(BadArgument, match="rate"):
        noise_model("uniform", 1.2)
    with pytest.raises(BadArgument, match="rate"):
        noise_model("crowd_majority", 0.2)
    with pytest.raises(BadArgument, match="uniform"):
        noise_model("unifrom")
    with pytest.raises(BadData, match="dissent on"):
        DissentingLabel(0.5)(Labelled(LABEL, K, votes=LABEL[:, None]), np.random.default_rng(0))
    with pytest.raises(BadData, match="0..4"):
        Labelled(np.array([0, 5]), K)
    with pytest.raises(BadData, match="votes"):
        Labelled(LABEL, K, votes=VOTES[:3])
