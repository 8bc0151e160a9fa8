"""Against beta distributions with known parameters, a posterior by Bayes' rule, and the trap in the tail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.ops.beta_mixture import EDGE, BetaMixture1D, Fitted


def drawn(n=20_000, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < share
    return np.where(wrong, rng.beta(12, 4, n), rng.beta(2, 12, n)), wrong


def by_loops(loss):
    """The card's fit, sample by sample."""
    low, high = np.percentile(loss, 5), np.percentile(loss, 95)
    x = [min(max((one - low) / (high - low), 1e-4), 1 - 1e-4) for one in loss]
    parts = [(1.0, 2.0, 0.5), (2.0, 1.0, 0.5)]
    for _ in range(10):
        weights = []
        for one in x:
            density = [share * beta.pdf(one, a, b) for a, b, share in parts]
            weights.append([value / sum(density) for value in density])
        new = []
        for k in range(2):
            w = [row[k] for row in weights]
            m = sum(i * j for i, j in zip(w, x, strict=True)) / sum(w)
            s2 = sum(i * (j - m) ** 2 for i, j in zip(w, x, strict=True)) / sum(w)
            a = m * (m * (1 - m) / s2 - 1)
            new.append((a, a * (1 - m) / m, sum(w) / len(x)))
        parts = new
    return np.array(parts).T


def test_the_fit_agrees_with_loops_and_the_scale_of_losses_does_not_matter():
    x, _ = drawn(300)
    fitted, scaled = BetaMixture1D().fit(x), BetaMixture1D().fit(3 * x + 1)
    np.testing.assert_allclose([fitted.alpha, fitted.beta, fitted.share], by_loops(x), rtol=1e-8)
    np.testing.assert_allclose(scaled.alpha, fitted.alpha, rtol=1e-8)
    assert scaled.low == pytest.approx(np.percentile(3 * x + 1, 5))
    assert scaled.high == pytest.approx(np.percentile(3 * x + 1, 95))


def test_the_two_kinds_are_told_apart_and_their_share_comes_out_too_high():
    x, wrong = drawn()
    fitted = BetaMixture1D().fit(x)
    posterior = fitted.wrong(x)
    assert ((posterior > 0.5) == wrong).mean() > 0.95
    assert posterior[wrong].mean() > 0.9
    assert posterior[x < np.percentile(x, 5)].max() < 0.2  # the lowest losses are not called wrong
    assert 0.35 < fitted.share[1] < 0.5  # the tail cut off above bends the second component up at its lower end


def test_posterior_is_bayes_rule_from_a_table_and_held_beyond_its_maximum():
    """The second component is the narrower: far out it loses its lead, which must not call the highest losses clean."""
    fitted = Fitted(0.0, 1.0, np.array([1.0, 20.0]), np.array([2.0, 10.0]), np.array([0.6, 0.4]))
    x = np.linspace(0.01, 0.99, 50)
    exact = 0.4 * beta.pdf(x, 20, 10) / (0.4 * beta.pdf(x, 20, 10) + 0.6 * beta.pdf(x, 1, 2))
    top = int(exact.argmax())
    assert exact[-1] < exact[top]
    made = fitted.wrong(x)
    np.testing.assert_allclose(made[:top], exact[:top], atol=0.05)
    np.testing.assert_allclose(made[top:], made[top:].max())
    assert fitted.wrong(np.array([1e9]))[0] == made.max()
    assert fitted.wrong(np.array([-1e9]))[0] == EDGE


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.integers(0, 999), st.floats(0.1, 10))
def test_any_losses_give_finite_posteriors(n, seed, sharp):
    loss = np.random.default_rng(seed).gamma(sharp, size=n)
    fitted = BetaMixture1D().fit(loss)
    made = fitted.wrong(loss)
    assert np.isfinite(made).all()
    assert ((made >= EDGE) & (made <= 1 - EDGE)).all()
    assert fitted.share.sum() == pytest.approx(1)


def test_what_cannot_be_fitted_is_said():
    for loss in (np.ones(50), np.array([]), np.array([1.0, np.nan])):
        with pytest.raises(BadData):
            BetaMixture1D().fit(loss)
    with pytest.raises(BadArgument, match="rounds"):
        BetaMixture1D(0)
