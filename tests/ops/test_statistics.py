"""Intervals and tests against scipy, closed forms and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import numpy_rng
from kintsugi.ops import statistics as ours

COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(("name", "method"), [("wilson", "wilson"), ("clopper_pearson", "exact")])
@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=40, deadline=None)
def test_binomial_intervals_agree_with_scipy(name, method, counts, level):
    theirs = stats.binomtest(*counts).proportion_ci(level, method)
    assert np.allclose(getattr(ours, name)(*counts, level), (theirs.low, theirs.high), atol=1e-9)


def test_binomial_intervals_take_arrays_and_empty_groups():
    low, high = ours.wilson([0, 3, 5], [0, 5, 5])
    assert low[0] == 0.0
    assert high[0] == pytest.approx(1.0)
    assert (low[2], high[2]) == (pytest.approx(0.5655, abs=1e-3), 1.0)
    low, high = ours.clopper_pearson([0, 5], [0, 5])
    assert (low[0], high[0], high[1]) == (0.0, 1.0, 1.0)
    assert low[1] == pytest.approx(0.025 ** (1 / 5))


@pytest.mark.parametrize(("counts", "name"), [((3, 2), "success"), ((-1, 2), "success"), ((0, -2), "total")])
def test_impossible_counts_are_refused_by_name(counts, name):
    with pytest.raises(BadArgument, match=name):
        ours.wilson(*counts)


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_two_sided_binomial_test(gained, lost):
    p = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert float(ours.mcnemar(gained, lost)) == pytest.approx(p)


def test_mcnemar_by_hand():
    assert np.allclose(ours.mcnemar([0, 4, 6, 3], [0, 0, 0, 3]), [1.0, 2 / 2**4, 2 / 2**6, 1.0])


def test_holm_by_hand():
    assert np.allclose(ours.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_is_the_closed_bonferroni_test(p_values):
    # By definition: a hypothesis is rejected when every intersection that holds it is, each by Bonferroni.
    p, corrected = np.array(p_values), ours.holm(p_values)
    for i in range(len(p)):
        worst = 0.0
        for size in range(1, len(p) + 1):
            for some in itertools.combinations(range(len(p)), size):
                if i in some:
                    worst = max(worst, min(1.0, size * p[list(some)].min()))
        assert corrected[i] == pytest.approx(worst)


def test_bootstrap_sums_have_the_moments_of_the_multinomial():
    rng = numpy_rng(0, "rows")
    rows = rng.integers(0, 3, size=(200, 2)).astype(float)
    drawn = ours.bootstrap_sums(rows, 20_000, rng)
    assert np.allclose(drawn.mean(axis=0), rows.sum(axis=0), rtol=0.01)
    assert np.allclose(np.cov(drawn.T), len(rows) * np.cov(rows.T, bias=True), atol=5)


def test_counted_rows_are_repeated_rows():
    rows, count = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), [3, 4, 2]
    one = ours.bootstrap_sums(rows, 50, numpy_rng(1), count=count)
    assert np.array_equal(one, ours.bootstrap_sums(np.repeat(rows, count, axis=0), 50, numpy_rng(1)))


def test_bootstrap_does_not_depend_on_the_block_size(monkeypatch):
    rows = numpy_rng(0).normal(size=(30, 2))
    whole = ours.bootstrap_sums(rows, 40, numpy_rng(1))
    monkeypatch.setattr(ours, "_BLOCK", 100)
    assert np.allclose(whole, ours.bootstrap_sums(rows, 40, numpy_rng(1)))


def test_clusters_are_resampled_whole():
    rng = numpy_rng(0, "clusters")
    gain = rng.integers(0, 2, 60).astype(float)
    copies, cluster = np.repeat(gain, 10), np.repeat(np.arange(60), 10)
    naive = ours.paired_bootstrap(np.zeros(600), copies, 4000, rng)
    honest = ours.paired_bootstrap(np.zeros(600), copies, 4000, rng, cluster=cluster)
    # Ten renderings of an image know no more than one: the spread is that of 60 images, not 600.
    assert honest.std() == pytest.approx(gain.std() / np.sqrt(60), rel=0.05)
    assert naive.std() == pytest.approx(gain.std() / np.sqrt(600), rel=0.05)


def test_weights_are_those_of_the_mean():
    before, after, weight = np.zeros(3), np.array([1.0, 0.0, 0.0]), np.array([2.0, 1.0, 1.0])
    drawn = ours.paired_bootstrap(before, after, 20_000, numpy_rng(0), weight=weight)
    # 27 ways to draw three of three samples, each with the weighted mean of what it drew.
    every = [
        np.average([after[i] for i in way], weights=[weight[i] for i in way])
        for way in itertools.product(range(3), repeat=3)
    ]
    assert drawn.mean() == pytest.approx(np.mean(every), abs=0.01)


def test_percentile_interval_leaves_nan_out_and_corrects_bias():
    draws = np.append(np.linspace(0, 1, 1001), np.nan)
    assert ours.percentile_interval(draws) == pytest.approx((0.025, 0.975))
    assert ours.percentile_interval(draws, estimate=0.4) == pytest.approx((0.025 - 0.2, 0.975 - 0.2))
    weight = np.append(np.where(np.arange(1001) < 501, 1.0, 0.0), 5.0)
    assert ours.percentile_interval(draws, weight=weight) == pytest.approx((0.0125, 0.4875), abs=1e-3)
    with pytest.raises(BadArgument, match="draws"):
        ours.percentile_interval([np.nan])


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 4)), min_size=1, max_size=8), st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_weighted_quantile_is_the_quantile_of_repeated_values(pairs, q):
    value, weight = np.array([v for v, _ in pairs]), np.array([w for _, w in pairs])
    expected = np.quantile(np.repeat(value, weight), q, method="inverted_cdf")
    assert ours.weighted_quantile(value, weight, q) == pytest.approx(expected)


def test_permutation_test_against_all_permutations():
    value, member = np.array([5.0, 4.0, 1.0, 2.0, 0.0, 1.0]), np.array([1, 1, 0, 0, 0, 0], dtype=bool)
    seen, p_value = ours.permutation_test(value, member, 20_000, numpy_rng(0))
    every = []
    for some in itertools.combinations(range(6), 2):
        inside = np.isin(np.arange(6), some)
        every.append(value[inside].mean() - value[~inside].mean())
    assert seen == pytest.approx(3.5)
    assert p_value == pytest.approx(np.mean(np.abs(every) >= 3.5 - 1e-9), abs=0.01)


def test_permutation_test_is_level_under_the_null():
    rng = numpy_rng(0, "null")
    p = [ours.permutation_test(rng.normal(size=20), np.arange(20) < 7, 199, rng)[1] for _ in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.10


def test_sign_flip_test_is_exact_when_it_can_be():
    difference = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert ours.sign_flip_test(difference, 1000, numpy_rng(0)) == 2 / 32
    theirs = stats.permutation_test(
        ([0.5, -1.0, 2.0, 0.3, 1.1, 0.2],), np.sum, permutation_type="samples", alternative="two-sided"
    )
    assert ours.sign_flip_test([0.5, -1.0, 2.0, 0.3, 1.1, 0.2], 1000, numpy_rng(0)) == pytest.approx(theirs.pvalue)
    drawn = ours.sign_flip_test(np.ones(12), 500, numpy_rng(0))
    assert 1 / 501 <= drawn <= 5 / 501


def test_appearance_numbers_in_order():
    assert ours.appearance(np.array(["b", "a", "b", "c"], dtype=object)).tolist() == [0, 1, 0, 2]


def test_jeffreys_draws_cover():
    rng, truth = numpy_rng(0, "jeffreys"), 0.1
    inside = []
    for _ in range(400):
        k = rng.binomial(40, truth)
        low, high = ours.percentile_interval(ours.jeffreys_draws(k, 40, 500, rng))
        inside.append(low <= truth <= high)
    assert 0.90 <= np.mean(inside) <= 0.99
