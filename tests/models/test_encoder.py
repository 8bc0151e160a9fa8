import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kintsugi.core.errors import BadArgument
from kintsugi.core.kinds import Encoder
from kintsugi.models.base import TorchModel
from kintsugi.models.encoder import ModelEncoder, PixelEncoder, open_encoder


@pytest.mark.parametrize("spec", ["pixels", "pixels:8", "small:cnn", "small:resnet8@layer2"])
def test_encoders_by_name(spec):
    encoder = open_encoder(spec)
    image = torch.rand(2, 3, 16, 16)
    assert isinstance(encoder, Encoder)
    assert encoder.name.startswith(spec)
    with torch.no_grad():
        made = encoder(image)
    assert made.shape[0] == 2
    assert made.ndim == 2
    assert torch.equal(made, encoder(image).detach())


def test_fingerprint_names_weights_layer_and_preprocessing():
    one, two = open_encoder("small:cnn"), open_encoder("small:cnn", seed=1)
    assert one.fingerprint == open_encoder("small:cnn").fingerprint
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint != ModelEncoder(one.model, "blocks.1").fingerprint
    before = one.fingerprint
    with torch.no_grad():
        one.model.head().bias.add_(1)
    assert one.fingerprint != before


def hooked(encoder, image, layer):
    """What the layer puts out."""
    caught = []
    handle = getattr(encoder.model.net, layer).register_forward_hook(lambda _, __, made: caught.append(made))
    encoder.model(image)
    handle.remove()
    return caught[0]


@torch.no_grad()
def test_places_keep_what_is_where():
    image = torch.rand(2, 3, 20, 20)
    encoder = open_encoder("small:resnet8@layer2:4")
    maps = hooked(encoder, image, "layer2")
    assert maps.shape[2:] == (10, 10)  # no multiple of 4
    made = encoder(image)
    assert torch.equal(made, torch.nn.functional.adaptive_avg_pool2d(maps, 4).flatten(1))
    corner = maps[:, :, :3, :3].mean((2, 3))  # 10 * 1 / 4, rounded up
    assert torch.allclose(made.reshape(2, -1, 16)[:, :, 0], corner, atol=1e-6)
    assert encoder.name == "small:resnet8@layer2:4"


@torch.no_grad()
def test_one_place_is_the_mean_as_without_places():
    image, plain = torch.rand(2, 3, 20, 20), open_encoder("small:resnet8@layer2")
    one = open_encoder("small:resnet8@layer2:1")
    assert torch.equal(one(image), plain(image))
    assert torch.equal(plain(image), hooked(plain, image, "layer2").mean((2, 3)))
    assert one.fingerprint == plain.fingerprint
    four = ModelEncoder(plain.model, "layer2", places=4)
    assert four.fingerprint not in (plain.fingerprint, ModelEncoder(plain.model, "layer2", places=2).fingerprint)
    assert four.name.endswith("@layer2:4")


@torch.no_grad()
def test_channels_behind_are_kept_by_place_too():
    class Last(torch.nn.Module):
        output_fmt = "NHWC"

        def __init__(self):
            super().__init__()
            self.turn, self.head = torch.nn.Identity(), torch.nn.Linear(3, 2)

        def forward(self, image):
            return self.head(self.turn(image.permute(0, 2, 3, 1)).mean((1, 2)))

    image = torch.rand(2, 3, 8, 8)
    encoder = ModelEncoder(TorchModel(Last(), ("a", "b")), "turn", places=4)
    assert torch.equal(encoder(image), torch.nn.functional.avg_pool2d(image, 2).flatten(1))


def test_vectors_have_no_places():
    with pytest.raises(BadArgument, match="needs a layer that gives maps.* name another"):
        ModelEncoder(open_encoder("small:resnet8").model, places=2)(torch.rand(1, 3, 16, 16))
    with pytest.raises(BadArgument, match="places=0"):
        ModelEncoder(open_encoder("small:resnet8").model, "layer2", places=0)


def test_pixels_are_the_image():
    digits = load_digits()
    image = torch.from_numpy(digits.images[:5, None].repeat(3, 1) / 16).float()
    assert np.allclose(PixelEncoder(8)(image), image.flatten(1))


@pytest.mark.parametrize(
    "spec",
    [
        "pixels:x",
        "pixels:0",
        "pixels:8@layer",
        "nothing",
        "small:cnn@:4",
        "small:cnn@blocks.1:",
        "small:cnn@blocks.1:0",
    ],
)
def test_bad_names(spec):
    with pytest.raises(BadArgument):
        open_encoder(spec)
