"""JPEG against torchvision's codec."""

import numpy as np
import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from kintsugi.core.randomness import torch_rng
from kintsugi.stress.corrupt.jpeg import JPEG

# Only the test leans on the codec that torchvision means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding")

PUBLISHED = {"32": (80, 65, 58, 50, 40), "224": (25, 18, 15, 10, 7)}


def photo(channels=3):
    from sklearn.datasets import load_sample_image

    image = torch.from_numpy(load_sample_image("china.jpg")[100:196, 200:312].copy()).permute(2, 0, 1)
    return image[:channels]


@pytest.mark.parametrize("preset", PUBLISHED)
@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_agrees_with_another_codec(preset, severity, channels):
    image = photo(channels)
    made = JPEG(preset)(image[None] / 255, severity, torch_rng(0))[0] * 255
    mode = ImageReadMode.GRAY if channels == 1 else ImageReadMode.RGB
    wanted = decode_jpeg(encode_jpeg(image, quality=PUBLISHED[preset][severity - 1]), mode)
    # Codecs differ in rounding and in how they interpolate chroma; a wrong quality is off by far more.
    assert np.abs(made.numpy() - wanted.numpy().astype(float)).mean() < 1.0


def test_the_loss_grows_with_severity():
    image = photo()[None] / 255
    losses = [(JPEG("224")(image, severity, torch_rng(0)) - image).square().mean() for severity in range(1, 6)]
    assert losses == sorted(losses)
