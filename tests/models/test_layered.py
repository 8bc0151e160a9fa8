"""Looks at images: which layers are in the middle, moments by hand, statistics of pictures known beforehand."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.cache import embed
from kintsugi.models.encoder import ModelEncoder, PixelEncoder, open_encoder
from kintsugi.models.layered import LayeredEncoder, middle, picture_statistics


def images(count=3, side=32, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_the_middle_of_well_known_nets():
    with torch.device("meta"):
        nets = {name: getattr(torchvision.models, name)(weights=None) for name in ("mobilenet_v2", "vit_b_16")}
    assert middle(nets["mobilenet_v2"]) == ("features.4", "features.6", "features.8")
    layers = "encoder.layers.encoder_layer_"
    assert middle(nets["vit_b_16"]) == (f"{layers}1", f"{layers}3", f"{layers}4")
    assert middle(nn.Sequential(nn.ReLU())) == ()


class Two(nn.Module):
    """A convolution that doubles, one that is never run, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.idle, self.head = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
        with torch.no_grad():
            self.first.weight.copy_(2 * torch.eye(3)[:, :, None, None])

    def forward(self, image):
        return self.head(torch.relu_(self.first(image)).mean((2, 3)))


def test_moments_are_those_of_the_layer_itself():
    image = images() - 0.5  # below 0 too, and the net writes over what the layer gave
    encoder = LayeredEncoder(ModelEncoder(TorchModel(Two(), "ab")), depths=(1 / 3, 2 / 3))
    assert [name.rpartition(".")[2] for name in encoder.layers] == ["first", "idle"]
    with torch.no_grad():
        made = encoder(image)
    assert encoder.widths == (117, 6, 3)
    doubled = (2 * image).flatten(2)
    expected = torch.cat([doubled.mean(2), doubled.std(2, correction=0)], 1)
    torch.testing.assert_close(made[:, 117:123], expected)
    torch.testing.assert_close(made[:, 123:], (2 * image).relu().mean((2, 3)))


@pytest.mark.parametrize("spec", ["small:cnn", "small:resnet20", "small:lenet5"])
def test_wide_layers_give_some_channels_and_the_encoder_stays_last(spec):
    plain = open_encoder(spec, weights="random")
    narrow = LayeredEncoder(plain, channels=5)
    with torch.no_grad():
        made, own = narrow(images()), plain(images())
    assert narrow.widths == (117, 10 * len(narrow.layers), own.shape[1])
    torch.testing.assert_close(made[:, -own.shape[1] :], own)


def test_tokens_are_averaged_in_either_order():
    encoder = LayeredEncoder(PixelEncoder(4))
    token = images(1, 4)[0].transpose(0, 2)  # [4, 4, 3]
    tokens = torch.stack([token.reshape(16, 3)] * 2)
    expected = torch.cat([tokens.mean(1), tokens.std(1, correction=0)], 1)
    for given in (tokens, tokens.transpose(0, 1)):
        torch.testing.assert_close(encoder._moments(given, 2), expected)


def test_an_encoder_without_layers_and_grey_images():
    encoder = LayeredEncoder(PixelEncoder(4))
    with torch.no_grad():
        made = encoder(images()[:, :1])
    assert encoder.widths == (117, 0, 48)
    assert torch.isfinite(made).all()


def test_statistics_of_pictures_known_beforehand():
    grey = picture_statistics(torch.full((1, 3, 224, 224), 0.25))[0]
    torch.testing.assert_close(grey[:9], torch.tensor([0.25] + [0.0] * 8), atol=1e-6, rtol=0)
    torch.testing.assert_close(grey[9:], torch.full((108,), float(np.log(1e-4))), atol=1e-2, rtol=0)
    board = torch.zeros(1, 3, 224, 224)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 1  # the finest diagonal wave, and nothing else
    found = picture_statistics(board)[0]
    assert found[0] == pytest.approx(0.5)
    assert found[3] == pytest.approx(0.5)
    waves = found[9:].reshape(6, 3, 2, 3)[..., 0].exp()  # octave, direction, mean or root mean square, brightness
    assert waves[0, 2].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    waves[0, 2] = 0
    assert waves.max() < 2e-4


def test_blur_lowers_fine_waves_and_grey_lowers_colours():
    sharp = images(1, 224)
    small = nn.functional.avg_pool2d(sharp, 8)
    blurred = nn.functional.interpolate(small, size=224, mode="bilinear")
    waves = [picture_statistics(image)[0, 9:].reshape(6, 3, 2, 3) for image in (sharp, blurred)]
    assert (waves[1][:2] < waves[0][:2] - 2).all()
    colours = picture_statistics(sharp.mean(1, keepdim=True).expand(-1, 3, -1, -1))[0]
    torch.testing.assert_close(colours[[1, 2, 4, 5]], torch.zeros(4), atol=1e-6, rtol=0)


def test_it_is_embedded_and_kept_like_any_encoder(tmp_path):
    data = ImageSet.from_arrays((images(5).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8), [0] * 5)
    plain = open_encoder("small:cnn", weights="random")
    first = embed(LayeredEncoder(plain), data, cache=tmp_path)
    kept = LayeredEncoder(plain)
    np.testing.assert_array_equal(embed(kept, data, cache=tmp_path), first)
    assert kept.widths is None  # nothing had to be run
    assert LayeredEncoder(plain, channels=3).fingerprint != kept.fingerprint
    assert len({LayeredEncoder(plain).fingerprint, kept.fingerprint, plain.fingerprint}) == 2


def test_bad_settings_are_told():
    for options, said in (({"depths": (0.0,)}, "depths"), ({"channels": 0}, "channels")):
        with pytest.raises(BadArgument, match=said):
            LayeredEncoder(PixelEncoder(4), **options)
