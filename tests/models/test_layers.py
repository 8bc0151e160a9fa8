"""Stages read off real architectures, and several layers caught in one pass."""

import pytest
import torch
import torchvision
from torch import nn

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.models.base import TorchModel
from kintsugi.models.layers import features_at, stages
from kintsugi.models.small import SmallCNN, small_net


def test_stages_of_well_known_nets():
    with torch.device("meta"):
        efficient = torchvision.models.efficientnet_b0(weights=None)
        residual = torchvision.models.resnet18(weights=None)
        convnext = torchvision.models.convnext_tiny(weights=None)
    assert stages(efficient) == tuple(f"features.{level}" for level in range(9))
    assert stages(residual) == ("conv1", "layer1", "layer2", "layer3", "layer4")
    assert stages(convnext) == tuple(f"features.{level}" for level in range(8))


def test_stages_of_timm_nets():
    timm = pytest.importorskip("timm", reason="timm is an extra")
    with torch.device("meta"):
        efficient = timm.create_model("efficientnet_b0")
        convnext = timm.create_model("convnext_atto")
    assert stages(efficient) == ("conv_stem", *(f"blocks.{level}" for level in range(7)), "conv_head")
    assert stages(convnext) == ("stem", *(f"stages.{level}" for level in range(4)))


def test_stages_of_small_nets_and_inside_a_model():
    assert stages(SmallCNN(3)) == ("blocks.0", "blocks.1", "blocks.2")
    assert stages(TorchModel(SmallCNN(3), "abc")) == ("net.blocks.0", "net.blocks.1", "net.blocks.2")
    assert stages(small_net("resnet20", 3))[-1].endswith("layer3")


def test_a_net_without_weights_has_no_stages():
    with pytest.raises(BadArgument, match="no layer"):
        stages(nn.Sequential(nn.ReLU(), nn.Flatten()))


def test_layers_are_caught_in_one_pass_and_hooks_are_gone():
    net = SmallCNN(3, rng=torch_rng(0)).eval()
    image = torch.rand(2, 3, 16, 16, generator=torch_rng(1))
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        first, last = features_at(net, image, ["blocks.0", "blocks.2"])
        assert len(calls) == 1
        assert torch.equal(first, net.blocks[0](image).mean((2, 3)))
        assert torch.equal(last, TorchModel(net, "abc").features(image))
    assert not any(block._forward_hooks for block in net.blocks)


def test_an_unknown_layer_is_named_and_near_ones_offered():
    with pytest.raises(BadArgument, match=r"blocks\.2"):
        features_at(SmallCNN(3), torch.zeros(1, 3, 8, 8), ["blocks.22"])
