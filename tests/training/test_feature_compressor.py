"""The loss in closed form and against a plain loop; principal components against scikit-learn."""

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.training.feature_compressor import FeatureCompressor


def features(n=300, d=12, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((8, d))[rng.integers(8, size=n)] + 0.5 * rng.standard_normal((n, d))).astype(np.float32)


def fit(method, n=300, seed=0, **how):
    return FeatureCompressor(method, 4, **how).fit(features(n), np.random.default_rng(seed))


def test_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    x = features()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    wanted = PCA(4, svd_solver="full").fit(x).transform(x)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    made = fit("pca").transform(features())
    np.testing.assert_allclose(np.abs(made), np.abs(wanted), atol=1e-4)


def test_the_first_loss_is_that_of_the_formula():
    """All vectors in one batch: a network that has learned from no step yet gives the loss that is reported first."""
    x, temperature = features(20), 0.3
    made = FeatureCompressor("snip", 4, steps=1, batch_size=20, temperature=temperature, lr=1e-12)
    f = made.fit(x, np.random.default_rng(0)).transform(x).astype(float)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    total = 0.0
    for i in range(20):
        others = [j for j in range(20) if j != i]
        positive = max(others, key=lambda j: unit[i] @ unit[j])
        total -= np.log(
            np.exp(f[i] @ f[positive] / temperature) / sum(np.exp(f[i] @ f[j] / temperature) for j in others)
        )
    assert made.losses[0] == pytest.approx(total / 20, rel=1e-4)


def test_it_learns_to_put_nearest_neighbours_together():
    made = fit("snip", steps=300, batch_size=128)
    assert np.mean(made.losses[-20:]) < 0.7 * made.losses[0] < 0.9 * np.log(127)  # chance


@pytest.mark.parametrize("method", ["snip", "pca", "none"])
def test_vectors_have_length_1_and_do_not_hang_on_their_batch(method):
    made = fit(method, steps=5)
    x = features(500, seed=1)
    whole = made.transform(x)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([made.transform(part) for part in np.split(x, [3, 50, 51])]), whole)
    np.testing.assert_allclose(made.transform(7 * x), whole, atol=1e-6)
    assert made.transform(x[:0]).shape == (0, whole.shape[1])


def test_same_seed_same_network_and_no_global_state():
    state = torch.get_rng_state()
    one, other, third = (fit("snip", seed=seed, steps=20).transform(features()) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - third).max() > 0.01
    assert torch.equal(torch.get_rng_state(), state)


def test_identical_vectors_and_short_ones_are_no_crash():
    same = np.ones((50, 3), np.float32)
    for method in ("snip", "pca", "none"):
        made = FeatureCompressor(method, 16, steps=3).fit(same, np.random.default_rng(0))
        assert np.isfinite(made.losses).all()
        assert made.transform(same).shape == (50, 3)


def test_bad_input_is_named():
    bad = {"method": "umap", "size": 0, "hidden": 0, "steps": 0, "batch_size": 2, "temperature": 0.0, "lr": 0.0}
    for name, value in bad.items():
        with pytest.raises(BadArgument, match=name):
            FeatureCompressor(**{name: value})
    with pytest.raises(BadArgument, match="call fit first"):
        FeatureCompressor().transform(features())
    with pytest.raises(BadData, match="2 vectors"):
        FeatureCompressor().fit(features(2), np.random.default_rng(0))
