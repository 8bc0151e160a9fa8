"""The box filter is the mean of what a small pixel covers; nothing is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kintsugi.core.errors import BadArgument
from kintsugi.data.compose.downsample import FILTERS, downsample
from kintsugi.data.imageset import ImageSet


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 4), high=st.integers(1, 4), wide=st.integers(1, 4), seed=st.integers(0, 99))
def test_box_is_the_mean_of_the_area(size, high, wide, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (2, size * high, size * wide, 3)).astype(np.uint8)
    small = downsample(ImageSet.from_arrays(pixels, [0, 0]), size)
    area = pixels.reshape(2, size, high, size, wide, 3).astype(float).mean(axis=(2, 4))  # aspect ignored
    assert small.source.image.shape == (2, size, size, 3)
    assert np.abs(small.source.image - area).max() <= 1.0  # rounded once in each direction


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_pillows_whether_held_or_not(name):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 8, 3)).astype(np.uint8)
    data = ImageSet.from_arrays(pixels, [0, 1, 1], id=["a", "b", "c"], place=["x", "y", "z"])
    held, made = downsample(data, 5, name), downsample(data, 5, name, held=False)
    for k in range(3):
        expected = np.asarray(Image.fromarray(pixels[k]).resize((5, 5), FILTERS[name]))
        np.testing.assert_array_equal(held[k].image, expected)
        np.testing.assert_array_equal(made[k].image, expected)
    assert held.ids == made.ids == data.ids
    assert held.column("place").tolist() == ["x", "y", "z"]
    assert made.fingerprint == downsample(data, 5, name, held=False).fingerprint
    assert made.fingerprint != downsample(data, 4, name, held=False).fingerprint
    assert downsample(data.select([2, 0]), 5, name).ids == ["c", "a"]


def test_bad_sizes_and_filters():
    data = ImageSet.from_arrays(np.zeros((1, 4, 4), np.uint8), [0])
    for wrong in ({"size": 0}, {"size": 2.5}, {"size": 4, "resample": "cubic"}):
        with pytest.raises(BadArgument, match="resample" if "resample" in wrong else "size"):
            downsample(data, **wrong)
