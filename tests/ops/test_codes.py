"""Against the definition (distance to the decoded vector) and faiss's own ADC."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.ops.codes import ProductCodes


def points(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def fitted(parts=4, centroids=16, n=400, d=10, seed=0):
    base = points(n, d, seed)
    return ProductCodes(parts, centroids).fit(base, np.random.default_rng(seed)), base


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.sampled_from([2, 16, 64]), st.integers(1, 90), st.integers(1, 11), st.integers(0, 99))
def test_adc_is_the_distance_to_what_a_code_stands_for(parts, centroids, n, d, seed):
    codes, base = fitted(parts, centroids, n, d, seed)
    query, code = points(7, d, seed + 1), codes.encode(base)
    wanted = ((query[:, None].astype(float) - codes.decode(code)[None]) ** 2).sum(-1)
    table = codes.table(query)
    read = sum(table[:, j, code[:, j]] for j in range(parts))
    np.testing.assert_allclose(read, wanted, atol=1e-5, rtol=1e-5)
    paired = codes.distance(query[np.arange(n) % 7], code)
    np.testing.assert_array_equal(paired, read[np.arange(n) % 7, np.arange(n)])
    every = ((base[:, None].astype(float) - codes.decode(code)[None]) ** 2).sum(-1)
    assert (codes.distance(base, code) <= every.min(axis=1) + 1e-5).all()  # no code is nearer than one's own


def test_codebooks_are_lloyds():
    """Every centroid is the mean of the vectors that have its code: what k-means ends with."""
    codes, base = fitted(parts=2, centroids=8, n=300, d=4)
    code = codes.encode(base)
    for j in range(2):
        for c in range(8):
            np.testing.assert_allclose(codes.books[j, c], base[code[:, j] == c, 2 * j : 2 * j + 2].mean(0), atol=1e-5)


def test_search_finds_the_nearest_codes_and_leaves_itself_out():
    codes, base = fitted(n=300)
    code = codes.encode(base)
    full = ((base[:, None].astype(float) - codes.decode(code)[None]) ** 2).sum(-1)
    np.fill_diagonal(full, np.inf)
    adc, rows = codes.search(base, code, 5, alone=True)
    np.testing.assert_allclose(adc, np.sort(full, 1)[:, :5], atol=1e-5)
    assert (rows != np.arange(300)[:, None]).all()
    same = np.zeros((6, 10), np.float32)
    rows = codes.search(same, codes.encode(same), 5, alone=True)[1]
    assert [sorted(row) for row in rows.tolist()] == [[j for j in range(6) if j != i] for i in range(6)]


@pytest.mark.parametrize("centroids", [16, 256])
def test_faiss_computes_the_same_distances(centroids):
    faiss = pytest.importorskip("faiss")
    codes, base = fitted(centroids=centroids, n=2000, d=16)
    code, query = codes.encode(base), points(50, 16, 5)
    index = faiss.IndexPQ(16, 4, centroids.bit_length() - 1)
    faiss.copy_array_to_vector(codes.books.ravel(), index.pq.centroids)
    index.is_trained = True
    index.add(base)
    np.testing.assert_allclose(index.search(query, 5)[0], codes.search(query, code, 5, engine="exact")[0], rtol=1e-4)
    np.testing.assert_allclose(
        codes.search(query, code, 5, engine="faiss", probes=10_000)[0],
        codes.search(query, code, 5, engine="exact")[0],
        rtol=1e-4,
    )


def test_the_inverted_file_loses_little_and_more_cells_lose_less():
    pytest.importorskip("faiss")
    codes, base = fitted(parts=8, centroids=256, n=4000, d=16)
    code = codes.encode(base)
    exact = codes.search(base, code, 5, alone=True, engine="exact")[0]
    found = [codes.search(base, code, 5, alone=True, engine="faiss", probes=p)[0] for p in (1, 16)]
    lost = [float((near > exact + 1e-5).mean()) for near in found]
    assert lost[1] < 0.2 < 0.5 < lost[0]


def test_fewer_distinct_vectors_than_centroids_are_kept_as_they_are():
    base = np.repeat(points(3, 5), 4, axis=0)
    codes = ProductCodes(2, 64).fit(base, np.random.default_rng(0))
    np.testing.assert_array_equal(codes.decode(codes.encode(base)), base)
    assert (codes.distance(base, codes.encode(base)) == 0).all()


def test_same_seed_same_codes():
    np.testing.assert_array_equal(fitted()[0].books, fitted()[0].books)


def test_bad_input_is_named():
    codes, base = fitted()
    with pytest.raises(BadArgument, match="centroids=100"):
        ProductCodes(4, 100)
    with pytest.raises(BadArgument, match="parts=0"):
        ProductCodes(0)
    with pytest.raises(BadArgument, match="call fit first"):
        ProductCodes().encode(base)
    with pytest.raises(BadData, match="3 columns, the codebooks 10"):
        codes.encode(base[:, :3])
    with pytest.raises(BadData, match="give uint8"):
        codes.decode(base)
    with pytest.raises(BadData, match="not finite"):
        ProductCodes().fit(np.full((3, 2), np.nan), np.random.default_rng(0))
    with pytest.raises(BadData, match="no vectors"):
        ProductCodes().fit(np.zeros((0, 2)), np.random.default_rng(0))
    assert codes.search(base[:0], codes.encode(base), 3)[0].shape == (0, 3)
    assert codes.search(base[:1], codes.encode(base[:1]), 3, alone=True)[0].shape == (1, 0)
