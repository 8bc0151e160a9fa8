"""Image-text encoders: images and sentences as vectors of one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.models.encoder import weights_fingerprint
from kintsugi.models.preprocess import Preprocess

TEXTS = 256  # sentences embedded at a time


class ImageText(nn.Module):
    """A CLIP-like net: an encoder of images that encodes text as well.

    Args:
        net: with ``encode_image``, ``encode_text`` and ``logit_scale``, as open_clip's have.
        tokenizer: sentences to tokens.
        preprocess: what the image half was trained on.
        name: for reports.
    """

    def __init__(self, net: Any, tokenizer: Callable[[list[str]], torch.Tensor], preprocess: Preprocess, name: str):
        super().__init__()
        self.net, self.tokenizer, self.preprocess, self.name = net, tokenizer, preprocess, name

    @property
    def fingerprint(self) -> str:
        """Hash of weights and preprocessing."""
        return weights_fingerprint(self.net, self.preprocess.as_dict(), "image-text")

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to become logits, as it was learnt."""
        return float(self.net.logit_scale.detach().exp())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to unit vectors ``[B, D]``."""
        return self.encode_image(image)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to unit vectors ``[B, D]``."""
        return functional.normalize(self.net.encode_image(self.preprocess(image)), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """T sentences to unit vectors ``[T, D]``."""
        place = self.net.logit_scale.device
        parts = [list(texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS)]
        return torch.cat(
            [functional.normalize(self.net.encode_text(self.tokenizer(part).to(place)), dim=-1) for part in parts]
        )


def open_image_text(
    spec: str, *, weights: Path | str | None = None, device: str | torch.device = "cpu", seed: int = 0
) -> ImageText:
    """Open an image-text encoder by name.

    Args:
        spec: ``open_clip:ARCH/TAG``, or ``open_clip:ARCH`` with weights of one's own.
        weights: a local checkpoint, ``random``, or None for those the name stands for.
        device: where to put it.
        seed: of random weights.

    Raises:
        BadArgument: the name is not known.
        MissingDependency: open_clip is not installed.
    """
    kind, _, name = spec.partition(":")
    if kind != "open_clip" or not name:
        raise BadArgument.of("spec", spec, "open_clip:ARCH/TAG")
    from kintsugi.models.adapters.from_open_clip import open_both

    net, tokenizer, preprocess = open_both(name, weights=weights, rng=torch_rng(seed, "weights"))
    return ImageText(net, tokenizer, preprocess, spec).to(device).eval()
