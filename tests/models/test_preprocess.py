import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.formats import open_data
from kintsugi.data.imageset import ImageSet
from kintsugi.data.stream import resized
from kintsugi.models.preprocess import Preprocess, decoding


def photo(height=90, width=130):
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.uint8(255 * np.stack((x, y**2, 0.5 + 0.4 * np.sin(12 * x + 5 * y)), 2))


def tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def test_formula_with_range_and_bgr():
    image = torch.rand(2, 3, 5, 5)
    made = Preprocess((104.0, 117.0, 123.0), (57.0, 58.0, 59.0), bgr=True, value_range=(0, 255))(image)
    for out, (source, mean, std) in enumerate(zip((2, 1, 0), (104.0, 117.0, 123.0), (57.0, 58.0, 59.0), strict=True)):
        assert torch.allclose(made[:, out], (image[:, source] * 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(90, 130), (130, 90), (20, 31)])
def test_resizing_is_pillows(interpolation, height, width):
    image = photo(height, width)
    made = Preprocess((0,) * 3, (1,) * 3, (32, 32), resize=36, interpolation=interpolation)(tensor(image))
    from torchvision.transforms import v2
    from torchvision.transforms.functional import InterpolationMode

    steps = v2.Compose([v2.Resize(36, InterpolationMode(interpolation)), v2.CenterCrop(32)])
    theirs = tensor(np.asarray(steps(Image.fromarray(image))))
    assert made.shape == theirs.shape
    assert (made - theirs).abs().max() < 2.5 / 255


def test_squash_and_pad():
    image = photo(40, 80)
    squashed = Preprocess((0,) * 3, (1,) * 3, (32, 32), crop="squash")(tensor(image))
    theirs = tensor(np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)))
    assert (squashed - theirs).abs().max() < 1.5 / 255
    padded = Preprocess((0,) * 3, (1,) * 3, (32, 32), crop="pad")(tensor(image))
    assert padded[..., :8, :].abs().max() == 0
    assert padded[..., 24:, :].abs().max() == 0
    assert padded[..., 8:24, :].mean() > 0.1


@pytest.mark.parametrize("crop", ["center", "squash", "pad"])
def test_decoding_at_the_stated_size_changes_little(crop):
    preprocess = Preprocess((0,) * 3, (1,) * 3, (28, 28), resize=32 if crop == "center" else None, crop=crop)
    size, fit = preprocess.decode
    image = photo(100, 200)  # an even margin: on an odd one, the two ways of padding differ by a pixel
    whole, cut = preprocess(tensor(image)), preprocess(tensor(resized(image, size, fit)))
    assert (whole - cut).abs().mean() < 0.01


def test_grey_both_ways():
    grey = torch.rand(2, 1, 4, 4)
    assert torch.equal(Preprocess((0,) * 3, (1,) * 3)(grey), grey.expand(2, 3, 4, 4))
    image = photo()
    one = Preprocess((0,), (1,))(tensor(image))
    theirs = np.asarray(Image.fromarray(image).convert("L")) / 255
    assert one.shape[1] == 1
    assert np.abs(one[0, 0].numpy() - theirs).max() < 1.5 / 255


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["center", "squash", "pad"]), st.booleans())
def test_any_image_gives_the_size(height, width, crop, scaled):
    preprocess = Preprocess((0.5,) * 3, (0.5,) * 3, (16, 12), resize=20 if scaled else None, crop=crop)
    made = preprocess(torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)))
    assert made.shape == (1, 3, 16, 12)
    assert made.abs().max() <= 1 + 1e-4


def test_gradient_reaches_the_image():
    preprocess = Preprocess((0.5,) * 3, (0.5,) * 3, (8, 8), interpolation="bicubic")
    image = torch.full((1, 3, 20, 20), 0.5, requires_grad=True)
    preprocess(image).sum().backward()
    assert torch.isclose(image.grad.sum(), torch.tensor(3 * 64 / 0.5), rtol=1e-3)


def test_dict_round_trip_and_nothing_in_the_state():
    preprocess = Preprocess((0.1, 0.2, 0.3), (1, 2, 3), (4, 5), (6, 7), "squash", "bicubic", True, (-1, 1))
    again = Preprocess.from_dict(preprocess.as_dict())
    assert again.as_dict() == preprocess.as_dict()
    assert not preprocess.state_dict()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mean": (123.0, 117.0, 104.0)}, "value_range"),
        ({"std": (0.0, 1.0, 1.0)}, "std"),
        ({"std": (1.0,)}, "std"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"crop": "random"}, "crop"),
        ({"interpolation": "lanczos"}, "interpolation"),
        ({"size": (0, 3)}, "size"),
        ({"value_range": (1.0, 0.0)}, "value_range"),
    ],
)
def test_bad_parameters_are_named(options, named):
    with pytest.raises(BadArgument, match=named):
        Preprocess(**{"mean": (0.5,) * 3, "std": (1.0,) * 3, **options})


def test_wrong_images_are_refused():
    with pytest.raises(BadData, match="float"):
        Preprocess((0,) * 3, (1,) * 3)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(BadData, match="shape"):
        Preprocess((0,) * 3, (1,) * 3)(torch.zeros(1, 4, 4, 3))


def test_what_a_set_is_decoded_to(tmp_path):
    class Net:
        preprocess = Preprocess((0.5,) * 3, (0.5,) * 3, (24, 24), resize=32)

    for name, size in (("a", (40, 50)), ("b", (60, 30))):
        (tmp_path / name).mkdir()
        Image.new("RGB", size).save(tmp_path / name / "x.png")
    photos = open_data(tmp_path)
    assert decoding(Net(), photos) == ((32, 32), "crop")
    assert decoding(Net(), photos, (8, 9), "pad") == ((8, 9), "pad")
    assert decoding(object(), photos) == (None, "crop")
    arrays = ImageSet.from_arrays(np.zeros((2, 16, 16), np.uint8), [0, 1], ("a", "b"))
    assert decoding(Net(), arrays) == (None, "crop")  # in memory: the model scales
