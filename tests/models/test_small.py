import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.models.open import open_model
from kintsugi.models.predict import chance_warning, predict
from kintsugi.models.small import CifarResNet, LeNet5, SmallCNN, small_net


@pytest.mark.parametrize("side", [14, 28, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_cnn_takes_all_sizes(side, channels):
    assert SmallCNN(5, channels, width=4)(torch.rand(2, channels, side, side)).shape == (2, 5)


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    one, two, other = (SmallCNN(2, width=4, rng=torch_rng(seed, "w")) for seed in (0, 0, 1))
    assert torch.equal(one.linear.weight, two.linear.weight)
    assert not torch.equal(one.linear.weight, other.linear.weight)
    CifarResNet(8), LeNet5()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_moves_on():
    rng = torch_rng(0, "w")
    assert not torch.equal(SmallCNN(2, width=4, rng=rng).linear.weight, SmallCNN(2, width=4, rng=rng).linear.weight)


def test_depth_counts_layers():
    for depth in (20, 32):
        net = CifarResNet(depth)
        weights = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        assert len(weights) == depth
    # He et al. 2016, table 6: 0.27 and 0.46 million parameters.
    assert [round(sum(p.numel() for p in CifarResNet(d).parameters()) / 1e6, 2) for d in (20, 32)] == [0.27, 0.46]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: CifarResNet(21), "depth"),
        (lambda: SmallCNN(0), "num_classes"),
        (lambda: SmallCNN(2, channels=4), "channels"),
        (lambda: small_net("vgg", 2), "vgg"),
        (lambda: small_net("lenet5", 2, width=3), "width"),
    ],
)
def test_bad_parameters_are_named(make, named):
    with pytest.raises(BadArgument, match=named):
        make()


def shared(name):
    return Path(os.environ["KINTSUGI_DATA"]) / name


@pytest.mark.data
@pytest.mark.parametrize(("depth", "accuracy"), [(20, 0.9175), (32, 0.9290)])
def test_published_cifar_checkpoints(depth, accuracy):
    arrays = np.load(shared("cifar10_10k_train_2k_test_with_cifar10n.npz"))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    data = ImageSet.from_arrays(arrays["x_test"], arrays["y_test"], names)
    file = shared(f"cifar10_resnet{depth}_akamaster_state_dict.pth")
    model = open_model(f"small:resnet{depth}", data_classes=names, weights=file)
    outputs = predict(model, data, batch_size=250)
    assert (outputs.predicted == data.labels).mean() == pytest.approx(accuracy, abs=1e-9)
    assert chance_warning(outputs, data.labels) is None


@pytest.mark.data
def test_published_mnist_checkpoint():
    arrays = np.load(shared("mnist_20k_train_5k_test.npz"))
    data = ImageSet.from_arrays(arrays["x_test"], arrays["y_test"])
    model = open_model("small:lenet5", data_classes=data.classes, weights=shared("mnist_lenet5_state_dict.pth"))
    assert (predict(model, data, batch_size=500).predicted == data.labels).mean() > 0.98
