<<<<<<< HEAD
"""Every corruption keeps the contract of its kind."""

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.registry import of_kind

ENTRIES = pytest.mark.parametrize("entry", of_kind("corruption"), ids=lambda entry: entry.card.name)


def images(dtype=torch.float32, size=(24, 20), n=3):
    from sklearn.datasets import load_sample_image

    photo = torch.from_numpy(
        load_sample_image("flower.jpg")[:: 427 // size[0] // n, ::8][: n * size[0], : size[1]].copy()
    )
    return (photo.reshape(n, size[0], size[1], 3).permute(0, 3, 1, 2) / 255).to(dtype).contiguous()


@ENTRIES
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shape_type_range_and_repeatability(entry, severity):
    method, image = entry.load()(), images()
    before, state = image.clone(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - that it is not touched
    made = method(image, severity, torch.Generator().manual_seed(3))
    again = method(image, severity, torch.Generator().manual_seed(3))
    assert torch.equal(made, again)
    assert made.shape == image.shape
    assert made.dtype == image.dtype
    assert 0 <= made.min() <= made.max() <= 1
    assert not torch.equal(made, before)
    assert torch.equal(image, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@ENTRIES
def test_half_precision_and_double_stay_what_they_are(entry):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        made = entry.load()()(images(dtype), 2, torch.Generator().manual_seed(0))
        assert made.dtype == dtype
        assert torch.isfinite(made).all()


@ENTRIES
def test_both_presets_and_empty_batches(entry):
    for preset in ("small", "large"):
        assert entry.load()(preset=preset)(images(), 5, torch.Generator().manual_seed(0)).shape == images().shape
    assert entry.load()()(torch.zeros(0, 3, 8, 8), 1, torch.Generator()).shape == (0, 3, 8, 8)


@ENTRIES
def test_error_grows_with_severity(entry):
    for preset in ("small", "large"):
        image, method = images(size=(64, 64), n=1), entry.load()(preset=preset)
        error = [float((method(image, s, torch.Generator().manual_seed(0)) - image).abs().mean()) for s in range(1, 6)]
        assert error[-1] > error[0] > 0
        assert np.corrcoef(error, range(5))[0, 1] > 0.7


@ENTRIES
def test_bad_input_is_refused_by_name(entry):
    method, rng = entry.load()(), torch.Generator()
    for severity in (0, 6, 2.5, True):
        with pytest.raises(BadArgument, match="severity"):
            method(images(), severity, rng)
    with pytest.raises(BadData, match="uint8"):
        method(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 1, rng)
    with pytest.raises(BadData, match=r"0\.\.1"):
        method(torch.full((1, 3, 4, 4), 7.0), 1, rng)
    with pytest.raises(BadData, match=r"0\.\.1"):
        method(torch.full((1, 3, 4, 4), torch.nan), 1, rng)
    with pytest.raises(BadArgument, match="preset"):
        entry.load()(preset="medium")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@ENTRIES
def test_device_is_kept(entry):
    made = entry.load()()(images().cuda(), 3, torch.Generator().manual_seed(0))
    assert made.device.type == "cuda"
=======
"""Every corruption: shape, type and range kept, repeatable, stronger with severity, bad input refused by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stress_fixtures import build, global_state_kept, images

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.core.registry import of_kind

CORRUPTIONS = [pytest.param(entry, id=entry.card.name) for entry in of_kind("corruption")]


def photos():
    """Two real photographs, 96 pixels a side."""
    from sklearn.datasets import load_sample_images

    raw = torch.stack([torch.from_numpy(photo[:384, :384].copy()) for photo in load_sample_images().images])
    return torch.nn.functional.avg_pool2d(raw.permute(0, 3, 1, 2) / 255, 4)


@pytest.mark.parametrize("entry", CORRUPTIONS)
@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.sampled_from([1, 2, 9, 70]),
    width=st.sampled_from([1, 5, 16]),
    severity=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
)
def test_shape_type_and_range_are_kept(entry, n, channels, height, width, severity, dtype):
    image = torch.rand(n, channels, height, width, generator=torch_rng(0)).to(dtype)
    before = image.clone()
    with global_state_kept():
        made = build(entry)(image, severity, torch_rng(1))
    assert (made.shape, made.dtype, made.device) == (image.shape, image.dtype, image.device)
    assert made.isfinite().all()
    assert made.min() >= 0
    assert made.max() <= 1
    assert torch.equal(image, before)
    assert not made.requires_grad


@pytest.mark.parametrize("entry", CORRUPTIONS)
@pytest.mark.parametrize("side", [12, 80])
def test_the_same_generator_gives_the_same_images(entry, side):
    method = build(entry)
    one, two = (method(images(side=side), 3, torch_rng(5)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("entry", CORRUPTIONS)
@pytest.mark.parametrize("preset", ["32", "224"])
def test_photographs_change_and_more_so_at_the_end_of_the_table(entry, preset):
    image, method = photos(), build(entry, preset=preset)
    change = [(method(image, severity, torch_rng(0)) - image).abs().mean().item() for severity in range(1, 6)]
    assert min(change) > 1e-4
    assert change[4] > change[0]


@pytest.mark.parametrize("entry", CORRUPTIONS)
def test_bad_input_is_refused_by_name(entry):
    with pytest.raises(BadArgument, match="severity"):
        build(entry)(images(), 6, torch_rng(0))
    with pytest.raises(BadData, match="image"):
        build(entry)(images() * 255, 1, torch_rng(0))
    with pytest.raises(BadArgument, match="preset"):
        build(entry, preset="huge")


def test_there_are_corruptions():
    assert len(CORRUPTIONS) >= 2
>>>>>>> main
