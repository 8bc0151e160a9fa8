"""What the trial of pixel diffusion measures with: an unbiased distance, and generators that keep class and mean."""

import numpy as np
import pytest
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.randomness import torch_rng
from kintsugi.prove.trials.pixel_diffusion import COMPONENTS, _distance, _grey, _pixels, _simple


def drawn(name, n=300, shift=0.0, scale=1.0):
    return shift + scale * torch.randn(n, 5, generator=torch_rng(0, name))


def test_the_distance_is_unbiased_and_sees_mean_and_spread():
    same = [_distance(drawn(f"a{k}"), drawn(f"b{k}")) for k in range(20)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert _distance(drawn("a", shift=0.5), drawn("b")) > 10 * np.std(same)
    assert _distance(drawn("a", scale=1.5), drawn("b")) > 10 * np.std(same)


def test_the_distance_by_hand():
    one, two = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    k = lambda d: np.exp(-(d**2) / 8)  # noqa: E731 - the width is the one distance within the second, 2
    assert _distance(one, two) == pytest.approx(k(1) + k(2) - 2 * (k(0) + k(2) + k(1) + k(1)) / 4)


def test_simple_generators_match_what_they_should():
    label = torch.arange(3).repeat(100)
    image = _grey(np.random.default_rng(0).random((300, 64)) * 0.2 + 0.2 * label.numpy()[:, None] + 0.2)
    real = Batch(image, label, torch.arange(300))
    made = _simple(real, 0)
    assert len(made) == len(COMPONENTS) + 1
    for each in made:
        assert each.shape == (300, 3, 8, 8)
        for k in range(3):
            assert _pixels(each)[label == k].mean() == pytest.approx(0.3 + 0.2 * k, abs=0.01)
    pairs = torch.cdist(_pixels(made[-1]), _pixels(image)).topk(2, largest=False)
    assert (label[pairs.indices] == label[:, None]).all()  # halfway between two of its class
    assert torch.allclose(pairs.values[:, 0], pairs.values[:, 1], rtol=1e-3)
