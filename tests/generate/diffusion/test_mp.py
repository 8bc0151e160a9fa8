"""Unit noise stays unit noise through every magnitude-preserving operation (card 80, check b)."""

import pytest
import torch

from kintsugi.core.randomness import torch_rng
from kintsugi.generate.diffusion.mp import MPConv, MPFourier, mp_cat, mp_silu, mp_sum, normalize
from kintsugi.generate.diffusion.unet import Attention, Block, UNet


def noise(*shape, name="x"):
    return torch.randn(shape, generator=torch_rng(0, name))


def rms(x):
    return x.detach().square().mean().sqrt().item()


def test_normalize_by_hand():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    expected = x / (1e-4 + torch.tensor([[5.0], [0.0]]) / 2**0.5)
    torch.testing.assert_close(normalize(x), expected)
    assert rms(normalize(noise(8, 16, 4, 4) * 7, dims=(1,))) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "operation",
    [
        mp_silu,
        lambda x: mp_sum(x, noise(*x.shape, name="y"), 0.3),
        lambda x: mp_sum(x, noise(*x.shape, name="y"), 0.5),
        lambda x: mp_cat(x, noise(64, 48, 8, 8, name="y")),
        lambda x: mp_cat(x, noise(64, 5, 8, 8, name="y"), 0.3),
        MPConv(32, 64, 3, torch_rng(1)),
        MPConv(32, 64, 1, torch_rng(1)),
        lambda x: MPConv(32, 64, 0, torch_rng(1))(x[:, :, 0, 0]),
        lambda x: MPFourier(256, torch_rng(1))(x.flatten()[:4096]),
        # the interior: zero padding takes a little from the border
        lambda x: Block(32, 32, 16, decoder=True, heads=0, resample="", rng=torch_rng(2))(x, noise(64, 16))[
            ..., 2:-2, 2:-2
        ],
    ],
    ids=["silu", "sum.3", "sum.5", "cat", "cat.3", "conv3", "conv1", "linear", "fourier", "block"],
)
def test_unit_variance_in_unit_variance_out(operation):
    out = operation(noise(64, 32, 8, 8))
    border = out[..., 1:-1, 1:-1] if out.ndim == 4 else out
    assert rms(border) == pytest.approx(1, abs=0.05)


def test_cat_gives_each_input_its_share_whatever_its_width():
    a, b = noise(64, 60, 4, 4, name="a"), noise(64, 4, 4, 4, name="b")
    joined = mp_cat(a, b)
    assert joined[:, :60].square().sum() == pytest.approx(joined[:, 60:].square().sum().item(), rel=0.1)


def test_forced_normalisation_only_in_training_and_gradients_tangent():
    layer = MPConv(8, 8, 3, torch_rng(0))
    with torch.no_grad():
        layer.weight.mul_(5)
    before = layer.weight.clone()
    layer.eval()(noise(2, 8, 6, 6))
    assert torch.equal(layer.weight, before)
    layer.train()(noise(2, 8, 6, 6)).square().sum().backward()
    assert rms(layer.weight) == pytest.approx(1, abs=1e-3)
    along = (layer.weight.grad * layer.weight).flatten(1).sum(1).abs()
    length = layer.weight.grad.flatten(1).norm(dim=1) * layer.weight.flatten(1).norm(dim=1)
    assert (along < 1e-3 * length).all()


def test_attention_is_softmax_of_cosines():
    attention = Attention(8, 2, torch_rng(0))
    x = noise(3, 8, 2, 2)
    qkv = attention.qkv(x).reshape(3, 2, 4, 3, 4)
    q, k, v = normalize(qkv, dims=(2,)).unbind(3)
    weight = torch.einsum("nhcq,nhck->nhqk", q, k / 2).softmax(dim=3)
    y = torch.einsum("nhqk,nhck->nhcq", weight, v).reshape(3, 8, 2, 2)
    torch.testing.assert_close(attention(x), mp_sum(x, attention.out(y), 0.3))


def test_unet_starts_silent_keeps_shape_and_leaves_global_randomness():
    state = torch.get_rng_state()
    net = UNet(3, 4, attention=(1,), rng=torch_rng(0))
    assert torch.equal(state, torch.get_rng_state())
    x, label = noise(2, 3, 24, 24), torch.tensor([3, -1])
    out = net(x, torch.zeros(2), net.embed(label))
    assert out.shape == x.shape
    assert not out.any()  # the output gain starts at zero
    assert not net.embed(label)[1].any()
    assert rms(net.embed(label)[0]) == pytest.approx(1, abs=0.3)
    assert 3e5 < sum(p.numel() for p in net.parameters()) < 7e5
