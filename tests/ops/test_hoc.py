"""Against the equations themselves: shares made from a known T and p give them back."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.ops.hoc import agreement, transition

T = np.array([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.1, 0.3, 0.6]])
P = np.array([0.5, 0.3, 0.2])


def test_agreement_by_hand():
    one, two, three = agreement(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), np.array([1, 1, 0, 1]), 2)
    assert one.tolist() == [0.5, 0.5]
    assert two.tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert three[0, 0, 1] == three[1, 1, 1] == three[1, 0, 0] == three[0, 1, 1] == 0.25
    with pytest.raises(BadArgument, match="classes"):
        agreement(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int), 500)
    with pytest.raises(BadData, match="no sample"):
        agreement(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), 2)


def test_exact_shares_give_back_the_transition_matrix_and_the_prior():
    shares = P @ T, np.einsum("k,ki,kj->ij", P, T, T), np.einsum("k,ki,kj,kl->ijl", P, T, T, T)
    table, prior = transition(*shares)
    np.testing.assert_allclose(table, T, atol=0.02)
    np.testing.assert_allclose(prior, P, atol=0.02)
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)


def test_drawn_labels_give_it_back_nearly():
    rng = np.random.default_rng(0)
    true = rng.choice(3, size=20_000, p=P)
    label, first, second = ((rng.random(len(true))[:, None] > np.cumsum(T[true], axis=1)).sum(axis=1) for _ in range(3))
    table, prior = transition(*agreement(label, first, second, 3))
    np.testing.assert_allclose(table, T, atol=0.06)
    np.testing.assert_allclose(prior, P, atol=0.06)
    shares = agreement(label, first, second, 3)
    np.testing.assert_array_equal(transition(*shares, steps=9)[0], transition(*shares, steps=9)[0])
