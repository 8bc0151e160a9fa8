import json

import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.core.run import Run
from kintsugi.models.base import TorchModel
from kintsugi.models.open import open_model
from kintsugi.models.preprocess import Preprocess
from kintsugi.models.small import CifarResNet, SmallCNN


def test_a_module():
    model = open_model(SmallCNN(2, width=4), data_classes=("a", "b"))
    assert model(torch.rand(1, 3, 16, 16)).shape == (1, 2)
    assert not model.training
    assert any("preprocessing" in note for note in model.notes)
    with pytest.raises(BadArgument, match="class names"):
        open_model(SmallCNN(2, width=4))


def test_a_model_is_taken_as_it_is_or_mapped():
    model = TorchModel(SmallCNN(2, width=4), ("a", "b"))
    assert open_model(model, data_classes=("a", "b")) is model
    assert open_model(model, data_classes=("b", "a")).class_index == (1, 0)
    assert open_model(model, data_classes=("A", "B")).classes == ("A", "B")


def test_weights_for_a_module(tmp_path):
    trained = SmallCNN(2, width=4)
    with torch.no_grad():
        trained.linear.bias.fill_(3)
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    model = open_model(SmallCNN(2, width=4), data_classes=("a", "b"), weights=tmp_path / "a.pth")
    assert model.head().bias.tolist() == [3, 3]


@pytest.mark.parametrize("spec", ["small:cnn", "small:resnet20", "small:lenet5"])
def test_small_nets(spec):
    one, two, other = (open_model(spec, data_classes=("a", "b", "c"), seed=seed) for seed in (0, 0, 1))
    image = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(one(image), two(image))
        assert not torch.equal(one(image), other(image))
    assert one.spec == spec


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("net", [SmallCNN(3, 1, 5), CifarResNet(8, 3, width=4)])
def test_a_run_folder_gives_the_same_model(tmp_path, net, mapped):
    channels = net.options["channels"]
    model = TorchModel(net, ("a", "b", "c"), Preprocess((0.3,) * channels, (0.2,) * channels, (20, 20))).eval()
    model = model.with_classes(("c", "a")).eval() if mapped else model
    run = Run(tmp_path / "run")
    run.start({"model": model.describe(), "seed": 3})
    run.save_weights(model.state_dict())
    image = torch.rand(2, 3, 24, 24)
    again = open_model(tmp_path / "run")
    assert again.classes == model.classes
    with torch.no_grad():
        assert torch.equal(again(image), model(image))
    assert again.describe() == model.describe()


def test_a_run_folder_of_a_library(tmp_path):
    pytest.importorskip("timm")
    model = open_model("timm:test_resnet", weights="random", data_classes=("a", "b"), seed=4)
    run = Run(tmp_path)
    run.start({"model": model.describe()})
    run.save_weights(model.state_dict())
    image = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(open_model(str(tmp_path), data_classes=("b", "a"))(image), model(image)[:, [1, 0]])


def test_a_run_folder_without_a_model(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(BadCheckpoint, match="which architecture"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet18", "timm:NAME"),
        ("weights.safetensors", "which architecture"),
        ("small:vgg", "small net"),
        ("small:cnn", "class names"),
        (42, "a int"),
    ],
)
def test_names_that_name_nothing(spec, said):
    with pytest.raises(BadArgument, match=said):
        open_model(spec, data_classes=("a", "b") if spec != "small:cnn" else None)


def test_broken_weights_are_noticed_on_loading():
    net = SmallCNN(2, width=4)
    with torch.no_grad():
        net.linear.weight.fill_(torch.nan)
    with pytest.raises(BadCheckpoint, match="NaN"):
        open_model(TorchModel(net, ("a", "b"), Preprocess((0.5,) * 3, (0.5,) * 3, (16, 16))))


def test_a_size_the_net_cannot_take():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    with pytest.raises(BadCheckpoint, match="8 x 8"):
        open_model(TorchModel(net, ("a", "b"), Preprocess((0.5,) * 3, (0.5,) * 3, (8, 8))))


def test_class_names_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    model = open_model(SmallCNN(2, width=4), classes=tmp_path / "names.txt", data_classes=("cat", "dog"))
    assert model.class_index == (1, 0)


def test_other_objects_must_answer_in_the_classes():
    class Own:
        classes, bounds = ("a", "b"), (0.0, 1.0)

        def __call__(self, image):
            return image.mean((2, 3))[:, :2]

        def features(self, image, at=None):
            return image.mean((2, 3))

    own = Own()
    assert open_model(own, data_classes=("a", "b")) is own
    with pytest.raises(BadArgument, match="classes of the data"):
        open_model(own, data_classes=("b", "a"))


def test_data_room_types_are_not_confused():
    with pytest.raises(BadArgument, match="a ndarray"):
        open_model(np.zeros(3))
