"""Against scikit-learn's brute force and SciPy's distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.ops import neighbours
from kintsugi.ops.neighbours import best_of_rows, nearest


def oracle(base, k, query, metric):
    from scipy.spatial.distance import cdist

    alone = query is None
    full = cdist(base if alone else query, base, {"l2": "euclidean"}.get(metric, metric))
    if alone:
        np.fill_diagonal(full, np.inf)
    return np.sort(full, axis=1)[:, :k]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 60),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 7),
    st.sampled_from(["cosine", "l2"]),
    st.booleans(),
    st.integers(0, 999),
)
def test_distances_agree_with_scipy(n, q, d, k, metric, alone, seed):
    rng = np.random.default_rng(seed)
    base, query = rng.standard_normal((n, d)), None if alone else rng.standard_normal((q, d))
    distance, rows = nearest(base, k, query, metric=metric, engine="exact")
    wanted = oracle(base, min(k, n - alone), query, metric)
    np.testing.assert_allclose(distance, wanted, atol=2e-6)
    if alone:
        assert (rows != np.arange(n)[:, None]).all()


def test_small_blocks_give_the_same_answer(monkeypatch):
    rng = np.random.default_rng(0)
    base = rng.standard_normal((2500, 3)).astype(np.float32)
    whole = nearest(base, 5, memory=256)
    monkeypatch.setattr(neighbours, "FLOATS", 2**15)
    cut = nearest(base, 5, memory=1)  # at most 262,144 distances at a time, 128 rows of 2048 columns or fewer
    np.testing.assert_array_equal(whole[0], cut[0])
    np.testing.assert_array_equal(whole[1], cut[1])


def test_nearly_equal_points_keep_their_digits():
    base = np.array([[1000.0, 0.0], [1000.0, 0.01], [1000.0, 0.03]])
    distance, rows = nearest(base, 1, metric="l2")
    np.testing.assert_allclose(distance[:, 0], [0.01, 0.01, 0.02], rtol=1e-3)
    assert rows[:, 0].tolist() == [1, 0, 1]


def test_copies_of_a_point_are_neighbours_and_not_the_point_itself():
    base = np.ones((6, 4))
    distance, rows = nearest(base, 5)
    assert (distance < 1e-6).all()
    assert [sorted(row) for row in rows.tolist()] == [[j for j in range(6) if j != i] for i in range(6)]


def test_faiss_recalls_nearly_all_and_never_the_point_itself():
    pytest.importorskip("faiss")
    base = np.random.default_rng(1).standard_normal((4000, 8)).astype(np.float32)
    exact, approx = nearest(base, 5, engine="exact"), nearest(base, 5, engine="faiss")
    recall = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(exact[1], approx[1], strict=True)])
    assert recall > 0.6
    assert (approx[1] != np.arange(4000)[:, None]).all()
    assert nearest(np.ones((50, 3)), 4, engine="faiss")[1].shape == (50, 4)


def test_bad_input_is_named():
    with pytest.raises(BadArgument, match="metric='dot'"):
        nearest(np.ones((3, 2)), 1, metric="dot")
    with pytest.raises(BadArgument, match="k=0"):
        nearest(np.ones((3, 2)), 0)
    with pytest.raises(BadData, match="not finite in 1 rows, first 1"):
        nearest(np.array([[0.0], [np.nan]]), 1)
    with pytest.raises(BadData, match="2 columns and base 3"):
        nearest(np.ones((3, 3)), 1, np.ones((3, 2)))
    assert nearest(np.ones((1, 3)), 2)[0].shape == (1, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 900), st.integers(1, 12), st.booleans(), st.integers(0, 999))
def test_the_smallest_of_long_rows_are_those_of_sorting(count, k, tied, seed):
    import torch

    rng = torch.Generator().manual_seed(seed)
    block = torch.rand(7, count, generator=rng)
    if tied:
        block = (block * 5).floor()
    k = min(k, count)
    for largest in (False, True):
        near, place = best_of_rows(block, k, largest=largest)
        assert torch.equal(near, block.sort(1, descending=largest)[0][:, :k])
        assert torch.equal(block.gather(1, place), near)
        assert all(len(set(row)) == k for row in place.tolist())
