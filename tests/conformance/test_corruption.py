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
