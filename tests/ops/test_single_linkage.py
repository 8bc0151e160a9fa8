"""Against scipy on the whole distance matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from kintsugi.core.errors import BadArgument
from kintsugi.ops.single_linkage import single_linkage, spanning_tree


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_dendrogram_is_scipys(k):
    rng = np.random.default_rng(k)
    points = rng.standard_normal((300, 6)) + 3 * rng.standard_normal((7, 6))[rng.integers(7, size=300)]
    found, known = single_linkage(points, k=k, memory=1), linkage(pdist(points, "cosine"), "single")
    np.testing.assert_allclose(found.height, known[:, 2], atol=1e-6)
    np.testing.assert_array_equal(found.children, known[:, :2])
    np.testing.assert_array_equal(found.count[300:], known[:, 3])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 9999), st.integers(1, 4))
def test_ties_and_copies_change_no_height(n, seed, k):
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, (n, 3)).astype(float)
    points[(points == 0).all(axis=1)] = 1
    found = single_linkage(points, k=k)
    if n > 1:
        np.testing.assert_allclose(found.height, linkage(pdist(points, "cosine"), "single")[:, 2], atol=1e-6)
    assert found.count[-1] == n
    edges, length = spanning_tree(points, k=k)
    assert len(edges) == n - 1
    assert (np.diff(length) >= 0).all()


def test_zero_vectors_lie_at_distance_one_of_all():
    points = np.vstack([np.eye(3), np.zeros((2, 3)), np.eye(3) + 0.1])
    assert (single_linkage(points).height[-2:] == 1.0).all()


def test_bad_values_are_named():
    with pytest.raises(BadArgument, match="points"):
        single_linkage(np.zeros((0, 3)))
    with pytest.raises(BadArgument, match="k=0"):
        single_linkage(np.eye(3), k=0)
