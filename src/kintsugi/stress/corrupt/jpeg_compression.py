"""Compresses and decompresses by JPEG, as cameras and web sites do.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019:
Pillow's encoder with its default chroma subsampling. Images of one channel are stored as grey.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData
from kintsugi.stress.corrupt.base import Corrupted

if TYPE_CHECKING:
    from numpy.typing import NDArray

CARD = Card(
    name="jpeg_compression",
    kind="corruption",
    title="Blocks and ringing of strong JPEG compression",
    paper="Hendrycks and Dietterich, Benchmarking Neural Network Robustness, ICLR 2019, arXiv:1903.12261",
    card=41,
    code="https://github.com/hendrycks/robustness",
)


class JpegCompression(Corrupted):
    """JPEG; strengths are the encoder's quality. Images of 1 or 3 channels."""

    large = (25, 18, 15, 10, 7)
    small = (80, 65, 58, 50, 40)

    def apply(self, image: torch.Tensor, strength: int, rng: torch.Generator) -> torch.Tensor:  # noqa: ARG002
        """Encode and decode each image; nothing is random."""
        if image.shape[1] not in (1, 3):
            raise BadData(f"image has {image.shape[1]} channels:", "JPEG takes 1 or 3.")
        pixels = (image * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        made = np.stack([_through(one, strength) for one in pixels])
        return torch.from_numpy(made).permute(0, 3, 1, 2).to(image.device).float() / 255


def _through(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer)).reshape(pixels.shape)
