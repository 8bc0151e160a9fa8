import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kintsugi.core.errors import BadArgument
from kintsugi.core.kinds import Encoder
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


def test_pixels_are_the_image():
    digits = load_digits()
    image = torch.from_numpy(digits.images[:5, None].repeat(3, 1) / 16).float()
    assert np.allclose(PixelEncoder(8)(image), image.flatten(1))


@pytest.mark.parametrize("spec", ["pixels:x", "pixels:0", "nothing"])
def test_bad_names(spec):
    with pytest.raises(BadArgument):
        open_encoder(spec)
