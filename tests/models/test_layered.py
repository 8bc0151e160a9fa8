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
from kintsugi.models.layered import LayeredEncoder, middle, octave_power, sharpness_and_colour


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
    assert encoder.widths == (4, 12, 6, 3)
    doubled = (2 * image).flatten(2)
    expected = torch.cat([doubled.mean(2), doubled.std(2, correction=0)], 1)
    torch.testing.assert_close(made[:, 16:22], expected)
    torch.testing.assert_close(made[:, 22:], (2 * image).relu().mean((2, 3)))


@pytest.mark.parametrize("spec", ["small:cnn", "small:resnet20", "small:lenet5"])
def test_wide_layers_give_some_channels_and_the_encoder_stays_last(spec):
    plain = open_encoder(spec, weights="random")
    narrow = LayeredEncoder(plain, channels=5)
    with torch.no_grad():
        made, own = narrow(images()), plain(images())
    assert narrow.widths == (4, 12, 10 * len(narrow.layers), own.shape[1])
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
    assert encoder.widths == (4, 12, 0, 48)
    assert torch.isfinite(made).all()


def waves(cycles, side=224):
    """A grey picture of waves, so many cycles across, and the variance of its brightness."""
    across = 0.5 + 0.4 * torch.sin(2 * torch.pi * cycles * torch.arange(side) / side)
    return across.expand(1, 3, side, side), 0.08


@pytest.mark.parametrize(("octave", "cycles"), [(0, 80), (1, 40), (2, 20), (3, 10), (4, 5)])
def test_a_wave_has_power_in_its_octave_alone(octave, cycles):
    image, variance = waves(cycles)
    power = octave_power(image)[0].exp()
    assert power[0].argmax() == octave
    assert power[0, octave] > 100 * power[0, np.arange(6) != octave].max()
    assert power[1:].max() < 2e-7  # grey
    # Parseval: the power of all frequencies adds up to the variance, here all in one octave (of a half plane).
    down, right = np.meshgrid(np.fft.fftfreq(224), np.fft.rfftfreq(224), indexing="ij")
    size = np.hypot(down, right)
    count = ((size > 0.5 ** (octave + 2)) & (size <= 0.5 ** (octave + 1))).sum()
    assert float(power[0, octave]) * count == pytest.approx(variance * 224**2 / 2, rel=0.05)


def test_noise_is_flat_and_brown_noise_falls_as_it_should():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, 1, 224, 224))
    flat, _ = sharpness_and_colour(0.5 + 0.05 * torch.tensor(noise).float().expand(-1, 3, -1, -1))
    assert flat.mean(0).abs().max() < 0.1
    size = np.maximum(np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224)), 1 / 224)
    brown = np.fft.irfft2(np.fft.rfft2(noise) / size)
    slope, _ = sharpness_and_colour(torch.tensor(0.5 + brown / 300).float().expand(-1, 3, -1, -1))
    np.testing.assert_allclose(slope.mean(0), np.log(4), atol=0.2)  # power as 1 / f^2 is four times as much an octave


def test_scaling_up_bends_the_spectrum_contrast_does_not_and_grey_has_no_colour():
    sharp = images(1, 224)
    small = nn.functional.avg_pool2d(sharp, 8)
    scaled = nn.functional.interpolate(small, size=224, mode="bicubic").clamp(0, 1)
    (first, colour), (faint, _), (bent, _) = (
        sharpness_and_colour(image) for image in (sharp, 0.5 + (sharp - 0.5) / 3, scaled)
    )
    torch.testing.assert_close(first, faint, atol=0.01, rtol=0)
    assert bent[0, :2].max() > 2  # from the octaves that are empty to those that are not
    _, grey = sharpness_and_colour(sharp.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    assert (grey < colour - 5).all()


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
