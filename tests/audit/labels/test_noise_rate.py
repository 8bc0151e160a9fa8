"""Against noise that was planted: in a world the model fits, on real digits, and where it must not answer."""

import numpy as np
import pytest
from scipy.stats import binom

from kintsugi.audit.labels.noise_rate import ENOUGH, Reviewed, _doubt, estimate
from kintsugi.core.errors import BadArgument


def world(n, k, noise, sharp, seed):
    """True classes drawn from q, labels through ``noise [K, K]``; p is what a perfect predictor of the labels says."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k)) + sharp * np.eye(k)[rng.integers(k, size=n)]
    q = np.exp(2 * z)
    q /= q.sum(1, keepdims=True)
    true = (rng.random((n, 1)) > q.cumsum(1)[:, :-1]).sum(1)
    label = (rng.random((n, 1)) > noise[true].cumsum(1)[:, :-1]).sum(1)
    return label, q @ noise, (label != true).mean()


def uniform(k, rate):
    return (1 - rate) * np.eye(k) + rate * (1 - np.eye(k)) / (k - 1)


def of_class(k, rate):
    """Class i becomes i + 1, the more often the higher i."""
    rates = np.linspace(0, 2 * rate, k)
    return np.diag(1 - rates) + np.roll(np.diag(rates), 1, axis=1)


@pytest.mark.parametrize("noise", [uniform(6, 0.1), uniform(6, 0.3), of_class(6, 0.2)], ids=["10%", "30%", "by class"])
def test_rates_of_a_world_that_fits(noise):
    for seed in range(3):
        label, prob, wrong = world(4000, 6, noise, 5.0, seed + 50)
        told = estimate(label, prob, rng=np.random.default_rng(0))
        assert abs(told.rate - wrong) < 0.012
        low, high = told.interval
        assert low <= wrong <= high
        assert high - low < 0.05
        assert told.count(4000)[0] == pytest.approx(4000 * told.rate)


@pytest.fixture(scope="module")
def neighbours():
    """Labels of the digits, and each one's 15 nearest others."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import NearestNeighbors

    x, y = load_digits(return_X_y=True)
    return y, NearestNeighbors(n_neighbors=15).fit(x).kneighbors(return_distance=False)


def test_digits_with_nearest_neighbours(neighbours):
    y, near = neighbours
    held = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        share = (0.0, 0.1, 0.2, 0.3)[seed % 4]
        label = np.where(rng.random(len(y)) < share, (y + rng.integers(1, 10, len(y))) % 10, y)
        prob = np.stack([(label[near] == c).mean(1) for c in range(10)], axis=1)
        told = estimate(label, prob, rng=rng)
        held.append(told.interval[0] <= (label != y).mean() <= told.interval[1])
    assert sum(held) >= 11


def test_noise_that_depends_on_the_image_is_not_counted(neighbours):
    """Digits whose neighbours are divided get the second most frequent class: that is what a review is for."""
    y, near = neighbours
    rows, votes = np.arange(len(y)), np.stack([(y[near] == c).mean(1) for c in range(10)], axis=1)
    other = votes.copy()
    other[rows, y] = -1
    lead = votes[rows, y] - other.max(1)
    hard = np.argsort(np.where(lead > 0, lead, np.inf), kind="stable")[:180]
    label = y.copy()
    label[hard] = other[hard].argmax(1)
    prob = np.stack([(label[near] == c).mean(1) for c in range(10)], axis=1)
    told = estimate(label, prob, rng=np.random.default_rng(0))
    assert told.rate is None
    assert told.interval is None
    assert told.count(len(y)) == (None, None)
    assert f"review {ENOUGH} samples drawn at random" in told.note


def alike(seed, by_image):
    """Six classes, 0 and 1 of them alike and swapped in 3 of 10 samples: of all, or of those between the two.

    Labels of classes 2 to 4 are moved to the next class as well; p is what a perfect predictor of the labels says.
    """
    rng, n = np.random.default_rng(seed), 8000
    mean = 6.0 * np.eye(6)
    mean[0, 1] = mean[1, 0] = 4.5
    q = np.exp(2 * (rng.standard_normal((n, 6)) + mean[rng.integers(6, size=n)]))
    q /= q.sum(1, keepdims=True)
    true = (rng.random((n, 1)) > q.cumsum(1)[:, :-1]).sum(1)
    rate = np.array([0.0, 0.0, 0.1, 0.3, 0.4, 0.0])
    noise, swap = np.diag(1 - rate) + np.roll(np.diag(rate), 1, axis=1), np.eye(6)[[1, 0, 2, 3, 4, 5]]
    between = q[:, :2].min(1)
    part = 0.5 * (between > np.quantile(between[true < 2], 0.4))[:, None] if by_image else 0.3
    chance = (1 - part) * noise[true] + part * noise[true] @ swap
    label = (rng.random((n, 1)) > chance.cumsum(1)[:, :-1]).sum(1)
    return label, (1 - part) * (q @ noise) + part * (q @ noise @ swap), (label != true).mean()


def test_two_alike_classes_that_are_swapped_by_lot_are_counted_and_those_between_them_are_not():
    """Samples far from the other class are swapped as often as all where noise does not look at the image."""
    for seed in range(3):
        label, prob, wrong = alike(seed, by_image=False)
        told = estimate(label, prob, rng=np.random.default_rng(0))
        assert told.interval[0] <= wrong <= told.interval[1]
        assert told.interval[1] - told.interval[0] < 0.04
        label, prob, _ = alike(seed, by_image=True)
        assert estimate(label, prob, rng=np.random.default_rng(0)).rate is None


def test_what_clear_samples_show_by_hand():
    """Class 0's clear half is labelled 1 in two of four, class 1's in one of four: a quarter shows."""
    like = np.array([0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.4])
    q = np.concatenate([np.stack([1 - like, like], 1), np.stack([like, 1 - like], 1)])
    label = np.array([1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0])
    joint = np.array([[2.0, 6.0], [5.0, 3.0]]) / 16
    excess = joint * (1 - np.eye(2))
    assert _doubt(label, joint, q, excess, np.zeros(2)) == pytest.approx(2 * (5 / 16 - 0.25 * 0.5))
    assert _doubt(label, joint, q, excess, np.full(2, 1.0)) == pytest.approx(2 * 5 / 16)  # none beyond the level


def test_a_weak_predictor_cannot_tell():
    label, prob, _ = world(4000, 6, uniform(6, 0.1), 1.0, 0)
    assert "Cannot tell" in estimate(label, prob, rng=np.random.default_rng(0)).note
    blind = estimate(label, np.full((4000, 6), 1 / 6), rng=np.random.default_rng(0))
    assert blind.rate is None


@pytest.mark.parametrize(
    ("label", "classes", "why"),
    [
        (np.zeros(50, int), 3, "fewer than two classes"),
        (np.r_[np.zeros(50, int), [1, 1]], 2, "only 2 samples"),
        (np.arange(2000) % 100, 100, "few for 100 classes"),
        (np.arange(0), 3, "fewer than two classes"),
    ],
)
def test_too_little(label, classes, why):
    prob = np.full((len(label), classes), 1 / classes)
    told = estimate(label, prob, rng=np.random.default_rng(0))
    assert told.rate is None
    assert why in told.note


def test_a_class_that_nobody_has_changes_nothing():
    label, prob, _ = world(3000, 5, uniform(5, 0.2), 5.0, 1)
    wider = np.insert(prob, 2, 0.0, axis=1)
    moved = np.where(label >= 2, label + 1, label)
    one, other = (estimate(a, b, rng=np.random.default_rng(0)) for a, b in ((label, prob), (moved, wider)))
    assert one.rate == pytest.approx(other.rate, abs=1e-9)


def review(label, wrong, n, rng):
    row = np.sort(rng.permutation(len(label))[:n])
    return Reviewed(row, wrong[row].astype(float))


@pytest.mark.parametrize("skill", [0.0, 1.0], ids=["scores say nothing", "scores say much"])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.4])
def test_reviewed_intervals_cover_whatever_the_scores_say(rate, skill):
    """200 reviews of 4000, 100 repetitions: fewer hits than a true coverage of 92% gives 2 times in 100 are too few."""
    held, width = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        wrong = rng.random(4000) < rate
        label = np.zeros(4000, int)
        own = np.clip(0.7 - 0.5 * skill * wrong + 0.25 * rng.standard_normal(4000), 0, 1)
        told = estimate(label, np.stack([own, 1 - own], axis=1), reviewed=review(label, wrong, 200, rng), rng=rng)
        assert told.reviewed
        low, high = told.interval
        assert low <= told.rate <= high
        held += low <= wrong.mean() <= high
        width.append(high - low)
    assert held >= binom.ppf(0.02, 100, 0.92)
    if skill and rate == 0.4:
        assert np.mean(width) < 0.9 * 2 * 1.96 * np.sqrt(0.4 * 0.6 / 200)  # narrower than without scores


def test_before_and_after_enough_reviews():
    label, prob, _ = world(4000, 6, uniform(6, 0.1), 1.0, 0)
    rng = np.random.default_rng(0)
    few = estimate(label, prob, reviewed=Reviewed(np.arange(50), np.zeros(50)), rng=rng)
    assert few.rate is None
    assert "150 are missing" in few.note
    unsure = np.zeros(200)
    unsure[:20] = np.nan
    told = estimate(label, prob, reviewed=Reviewed(np.arange(200), unsure), rng=rng)
    assert told.interval[0] == 0.0
    assert told.interval[1] > 0.08
    assert "20 of them unsure" in told.note
    with pytest.raises(BadArgument, match="reviewed"):
        estimate(label, prob, reviewed=Reviewed(np.full(200, 3), np.zeros(200)), rng=rng)


def test_what_was_said_is_found_by_id():
    rows = Reviewed.of({"a": 1.0, "b": 0.0, "d": 0.0, "of other data": 1.0}, ["d", "x", "b", "a"])
    assert rows.row.tolist() == [0, 2, 3]
    assert rows.wrong.tolist() == [0.0, 0.0, 1.0]
