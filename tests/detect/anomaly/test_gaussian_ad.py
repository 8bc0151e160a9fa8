"""Gaussian anomaly detection against scikit-learn and scipy, and against the law it assumes."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import nn

from kintsugi.core.errors import BadArgument, BadCheckpoint, BadData
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.detect.anomaly.gaussian_ad import GaussianAD, ledoit_wolf


class Linear(nn.Module):
    """Two levels: pixels mixed by fixed matrices."""

    def __init__(self, inputs=12, first=6, second=9):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, first), nn.Linear(first, second)
        for number, weight in enumerate(self.parameters()):
            weight.data = torch.randn(weight.shape, generator=torch_rng(number))

    def forward(self, image):
        return self.second(torch.tanh(self.first(image.flatten(1))))


def noise(n, seed=0):
    image = numpy_rng(seed).integers(0, 256, (n, 2, 2, 3)).astype(np.uint8)
    return ImageSet.from_arrays(image, np.zeros(n, dtype=int), ("normal",))


def tensor(data):
    return torch.from_numpy(data.source.image).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(("count", "size"), [(200, 5), (20, 40), (3, 10), (50, 1)])
def test_shrinkage_agrees_with_scikit_learn(count, size):
    rng = numpy_rng(count)
    z = rng.standard_normal((count, size)) @ rng.standard_normal((size, size))
    wanted = LedoitWolf().fit(z).covariance_
    made = ledoit_wolf(torch.from_numpy(z - z.mean(0))).numpy()
    np.testing.assert_allclose(made, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [40, 5])
def test_scores_agree_with_scikit_learn_and_scipy(count):
    net, data, new = Linear(), noise(count), tensor(noise(7, 1))
    made = GaussianAD(net, ["first", "second"]).fit(data, numpy_rng(0))
    wanted = np.zeros((7, 2))
    with torch.no_grad():
        first, fresh = net.first(tensor(data).flatten(1)), net.first(new.flatten(1))
        pairs = [(first, fresh), (net.second(torch.tanh(first)), net.second(torch.tanh(fresh)))]
    for level, (fitted, asked) in enumerate(pairs):
        law = LedoitWolf().fit(fitted.double().numpy())
        for row, z in enumerate(asked.double().numpy()):
            wanted[row, level] = mahalanobis(z, law.location_, law.precision_)
    np.testing.assert_allclose(made.distances(new).numpy(), wanted, rtol=1e-4)
    np.testing.assert_allclose(made.score(new).numpy(), wanted.mean(1), rtol=1e-4)


@pytest.mark.parametrize("which", ["pca", "npca"])
def test_subspaces_agree_with_scikit_learn(which):
    net, data, new = Linear(), noise(60), tensor(noise(7, 1))
    made = GaussianAD(net, ["second"], (which, 0.9)).fit(data, numpy_rng(0))
    with torch.no_grad():
        fitted, asked = net(tensor(data)).double().numpy(), net(new).double().numpy()
    pca = PCA().fit(fitted)
    last = int(np.argmax(np.cumsum(pca.explained_variance_ratio_) > 0.9))
    kept = slice(0, last + 1) if which == "pca" else slice(last - 1, None)
    law = LedoitWolf().fit(pca.transform(fitted)[:, kept])
    wanted = np.sqrt(law.mahalanobis(pca.transform(asked)[:, kept]))
    np.testing.assert_allclose(made.score(new).numpy(), wanted, rtol=1e-3)


class Inverse(nn.Module):
    """Turns uniform pixels back into correlated normal features, so that the assumption holds."""

    def __init__(self, size=10):
        super().__init__()
        self.mix = nn.Linear(size, size, bias=False)
        # Well conditioned: shrinkage widens the narrow directions of a law that is not, and the rate falls below 5%.
        basis = torch.linalg.qr(torch.randn(size, size, generator=torch_rng(0))).Q
        self.mix.weight.data = basis * torch.linspace(0.5, 2.0, size)

    def forward(self, image):
        high, low = (image[:, 0].flatten(1).double() * 255).round().chunk(2, 1)
        # Two pixels make one number: with 256 steps alone the tails would be missing.
        return self.mix(torch.special.ndtri((256 * high + low + 0.5) / 65536).float())


def test_the_false_positive_rate_is_nominal_on_normal_features():
    def draw(n, seed):
        pixel = numpy_rng(seed).integers(0, 256, (n, 4, 5)).astype(np.uint8)
        return ImageSet.from_arrays(pixel, np.zeros(n, dtype=int), ("normal",))

    data, fresh = draw(5000, 0), draw(5000, 1)
    made = GaussianAD(Inverse(), ["mix"], batch_size=1000).fit(data, numpy_rng(0))
    image = torch.from_numpy(np.repeat(fresh.source.image, 3, 3)).permute(0, 3, 1, 2).float() / 255
    rate = (made.score(image) > made.threshold(0.05)["mix"]).float().mean().item()
    assert rate == pytest.approx(0.05, abs=0.01)


def test_it_finds_shifts_that_plain_distance_misses():
    rng = numpy_rng(0)
    # Features of very different spread; anomalies move along the narrow ones.
    normal = 128 + rng.standard_normal((600, 2, 2, 3)) * np.array([20, 4, 20])
    odd = 128 + rng.standard_normal((100, 2, 2, 3)) * np.array([20, 4, 20]) + np.array([0, 12, 0])

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Linear(12, 12, bias=False)
            self.same.weight.data = torch.eye(12)

        def forward(self, image):
            return self.same(image.flatten(1))

    normal, odd = (np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in (normal, odd))
    made = GaussianAD(Flat(), ["same"]).fit(ImageSet.from_arrays(normal[:500], np.zeros(500, dtype=int)), numpy_rng(0))
    asked = np.concatenate([normal[500:], odd])
    image = torch.from_numpy(asked).permute(0, 3, 1, 2).float() / 255
    truth = np.arange(200) >= 100
    plain = np.linalg.norm((asked - normal[:500].mean(0)).reshape(200, -1), axis=1)
    assert roc_auc_score(truth, made.score(image)) >= roc_auc_score(truth, plain) + 0.3


def test_saved_laws_give_the_same_scores_and_other_settings_are_refused(tmp_path):
    net, new = Linear(), tensor(noise(5, 1))
    made = GaussianAD(net, ["first"], ("npca", 0.8)).fit(noise(30), numpy_rng(0))
    made.save(tmp_path / "laws.safetensors")
    again = GaussianAD(net, ["first"], ("npca", 0.8)).load(tmp_path / "laws.safetensors")
    assert torch.equal(again.score(new), made.score(new))
    with pytest.raises(BadCheckpoint, match="subspace"):
        GaussianAD(net, ["first"]).load(tmp_path / "laws.safetensors")
    with pytest.raises(BadCheckpoint, match="levels"):
        GaussianAD(net, ["second"], ("npca", 0.8)).load(tmp_path / "laws.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadCheckpoint, match=r"bad\.safetensors"):
        made.load(tmp_path / "bad.safetensors")
    with pytest.raises(BadCheckpoint, match="missing"):
        made.load(tmp_path / "missing.safetensors")


def test_bad_parameters_and_data_are_refused_by_name():
    net = Linear()
    for wrong in ({"levels": ()}, {"subspace": ("ica", 0.5)}, {"subspace": ("pca", 1.0)}, {"sample": 1}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            GaussianAD(net, **wrong)
    with pytest.raises(BadArgument, match="no layer 'third'"):
        GaussianAD(net, ["third"]).fit(noise(5), numpy_rng(0))
    with pytest.raises(BadArgument, match="fit or load"):
        GaussianAD(net).score(tensor(noise(2)))
    with pytest.raises(BadData, match="two"):
        GaussianAD(net).fit(noise(1), numpy_rng(0))
    with pytest.raises(BadData, match="the same for all"):
        GaussianAD(net).fit(noise(3).select([1]).concat([_named(noise(3), n) for n in "ab"]), numpy_rng(0))
    made = GaussianAD(net).fit(noise(9), numpy_rng(0))
    with pytest.raises(BadArgument, match="fpr"):
        made.threshold(0.0)


def _named(data, name):
    only = data.select([0])
    return only.with_column("id", [name])
