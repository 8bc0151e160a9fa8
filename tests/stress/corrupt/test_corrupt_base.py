"""What the family promises for every member."""

from dataclasses import dataclass

import pytest
import torch

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.stress.corrupt.base import Corruption


@dataclass(frozen=True)
class Shift(Corruption):
    """Adds the table's number: out of range at the end of the table."""

    at_32 = (0.1, 0.2, 0.3, 0.4, 5.0)
    at_224 = (-0.1, -0.2, -0.3, -0.4, -5.0)

    def run(self, image, strength, rng):
        return image + strength


def grey(side, value=0.5, dtype=torch.float32):
    return torch.full((2, 3, side, side), value, dtype=dtype)


@pytest.mark.parametrize(("side", "preset", "sign"), [(64, "auto", 1), (65, "auto", -1), (65, "32", 1), (8, "224", -1)])
def test_the_table_follows_the_longer_side_unless_told(side, preset, sign):
    image = torch.full((1, 3, 10, side), 0.5)
    assert Shift(preset)(image, 1, torch_rng(0)).mean().item() == pytest.approx(0.5 + sign * 0.1)


def test_results_are_clipped_and_keep_half_precision():
    made = Shift()(grey(8, dtype=torch.float16), 5, torch_rng(0))
    assert made.dtype == torch.float16
    assert made.max() == 1.0


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, True, "3"])
def test_other_severities_are_refused(severity):
    with pytest.raises(BadArgument, match="severity"):
        Shift()(grey(8), severity, torch_rng(0))


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(1, 4, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.full((1, 3, 8, 8), 255.0),
        torch.full((1, 3, 8, 8), -0.1),
        torch.full((1, 3, 8, 8), float("nan")),
    ],
)
def test_other_images_are_refused(image):
    with pytest.raises(BadData, match="image has"):
        Shift()(image, 1, torch_rng(0))


def test_other_presets_are_refused():
    with pytest.raises(BadArgument, match="preset"):
        Shift("64")
