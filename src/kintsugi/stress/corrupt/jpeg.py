"""JPEG: blocks and ringing of strong compression.

Hendrycks and Dietterich 2019 (arXiv 1903.12261): the image is rounded to 8 bits, encoded at a low quality with the
codec's usual chroma subsampling, and decoded again. One channel is encoded as a grey image.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from kintsugi.core.card import Card
from kintsugi.stress.corrupt.base import Corruption

CARD = Card(
    name="jpeg",
    kind="corruption",
    title="blocks and ringing of strong JPEG compression",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
    "ICLR 2019, arXiv 1903.12261",
    card=41,
    code="hendrycks/robustness",
    status="proven",
)


@dataclass(frozen=True)
class JPEG(Corruption):
    """Encodes and decodes; a table's number is the codec's quality.

    Args:
        preset: ``32``, ``224`` or ``auto``, by the size of the image.
    """

    at_32: ClassVar[tuple[Any, ...]] = (80, 65, 58, 50, 40)
    at_224: ClassVar[tuple[Any, ...]] = (25, 18, 15, 10, 7)

    def run(self, image: torch.Tensor, strength: Any, rng: torch.Generator) -> torch.Tensor:
        """Each image through the codec, on the CPU. Nothing is random."""
        pixels = (image * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        made = np.empty_like(pixels)
        for number, each in enumerate(pixels):
            grey = each.shape[2] == 1
            with BytesIO() as encoded:
                Image.fromarray(each[..., 0] if grey else each).save(encoded, "JPEG", quality=strength)
                decoded = np.asarray(Image.open(encoded))
            made[number] = decoded[..., None] if grey else decoded
        return torch.from_numpy(made).to(image).permute(0, 3, 1, 2) / 255.0
