import pytest
import torch
from torch import nn

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.kinds import Model
from kintsugi.models.base import TorchModel
from kintsugi.models.preprocess import Preprocess
from kintsugi.models.small import CifarResNet, LeNet5, SmallCNN

RNG = torch.Generator


def model(classes=("a", "b", "c"), **options):
    return TorchModel(SmallCNN(3, width=4), classes, **options).eval()


def images(channels=3, side=16):
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def test_it_is_a_model():
    made = model()
    assert isinstance(made, Model)
    assert made(images()).shape == (2, 3)
    assert made.bounds == (0.0, 1.0)


def test_features_are_the_input_of_the_head():
    made = model()
    features, logits = made.features_and_logits(images())
    assert torch.allclose(made.head()(features), logits)
    assert torch.equal(made.features(images()), features)
    assert not made.head()._forward_pre_hooks


def test_features_at_a_layer_are_averaged():
    made = model()
    caught = made.features(images(), at="blocks.0")
    by_hand = made.net.blocks[0](made.preprocess(images())).mean((2, 3))
    assert torch.allclose(caught, by_hand, atol=1e-6)
    with pytest.raises(BadArgument, match=r"blocks\.9"):
        made.features(images(), at="blocks.9")


class Tokens(nn.Module):
    def __init__(self, token):
        super().__init__()
        if token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 3))
        self.body = nn.Flatten(2)
        self.turn = nn.Identity()
        self.head = nn.Linear(3, 2)

    def forward(self, image):
        tokens = self.turn(self.body(image).transpose(1, 2))
        return self.head(tokens[:, 0] if hasattr(self, "cls_token") else tokens.mean(1))


@pytest.mark.parametrize("token", [True, False])
def test_tokens_are_pooled(token):
    made = TorchModel(Tokens(token), ("a", "b"))
    tokens = images().flatten(2).transpose(1, 2)
    expected = tokens[:, 0] if token else tokens.mean(1)
    assert torch.allclose(made.features(images(), at="turn"), expected, atol=1e-6)


def test_channels_last_maps_are_pooled_over_space():
    class Last(nn.Module):
        output_fmt = "NHWC"

        def __init__(self):
            super().__init__()
            self.turn, self.head = nn.Identity(), nn.Linear(3, 2)

        def forward(self, image):
            return self.head(self.turn(image.permute(0, 2, 3, 1)).mean((1, 2)))

    made = TorchModel(Last(), ("a", "b"))
    assert torch.allclose(made.features(images(), at="turn"), images().mean((2, 3)), atol=1e-6)


def test_a_convolution_can_be_the_head():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made = TorchModel(net, ("a", "b"))
    assert made.features(images()).shape == (2, 5)
    with pytest.raises(BadArgument, match="Conv2d"):
        made.head()


def test_copy_shares_nothing():
    made = model()
    twin = made.copy()
    with torch.no_grad():
        twin.head().weight.zero_()
    assert made.head().weight.abs().sum() > 0


def test_class_map_drops_and_renormalises():
    made = model(("cat", "dog", "bird"))
    mapped = made.with_classes(("bird", "cat"))
    probabilities = made(images()).softmax(1)
    wanted = probabilities[:, [2, 0]] / probabilities[:, [2, 0]].sum(1, keepdim=True)
    assert torch.allclose(mapped(images()).softmax(1), wanted, atol=1e-6)
    assert mapped.classes == ("bird", "cat")
    assert mapped.net is made.net
    assert any("renormalised" in note for note in mapped.notes)


def test_several_outputs_for_one_class_add_up():
    made = model(("cat", "dog", "bird"))
    mapped = made.with_classes(("animal", "bird"), {"animal": ["cat", "dog"], "bird": "bird"})
    probabilities = made(images()).softmax(1)
    assert torch.allclose(mapped(images()).softmax(1)[:, 0], probabilities[:, :2].sum(1), atol=1e-6)


def test_wrong_number_of_names_is_said():
    with pytest.raises(BadData, match="class names"):
        model(("a", "b"))(images())
    with pytest.raises(BadArgument, match="classes"):
        model(())


def test_a_net_of_one_channel_takes_colour():
    made = TorchModel(LeNet5(), [str(k) for k in range(10)]).eval()
    assert made.preprocess.channels == 1
    assert made(images(3, 28)).shape == (2, 10)


def test_state_holds_only_the_net():
    assert {name.split(".")[0] for name in model().with_classes(("a", "b")).state_dict()} == {"net"}


def test_describe_is_plain():
    import json

    said = TorchModel(CifarResNet(8), [str(k) for k in range(10)], Preprocess((0.5,) * 3, (0.5,) * 3)).describe()
    assert json.loads(json.dumps(said)) == said
    assert said["spec"] == "small:resnet"
    assert said["options"]["depth"] == 8
