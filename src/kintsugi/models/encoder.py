"""Encoders: what turns images into vectors, named by weights and preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kintsugi.core.errors import BadArgument, require
from kintsugi.core.randomness import torch_rng
from kintsugi.models.adapters.opened import RANDOM
from kintsugi.models.base import TorchModel
from kintsugi.models.open import open_model
from kintsugi.models.preprocess import Preprocess


def weights_fingerprint(net: nn.Module, *facts: Any) -> str:
    """A hash of every tensor of a net, by name, and of further facts."""
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16)
    for name, value in net.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class ModelEncoder(nn.Module):
    """A classifier's features.

    Args:
        model: the classifier.
        at: layer whose pooled output is taken; None takes the input of the last linear layer.
        name: for reports.
        places: maps are averaged within ``places`` x ``places`` cells, so that vectors tell what is where.
    """

    def __init__(self, model: TorchModel, at: str | None = None, name: str | None = None, places: int = 1) -> None:
        super().__init__()
        require(isinstance(places, int) and places >= 1, "places", places, "a whole number from 1")
        self.model, self.at, self.places, self.preprocess = model, at, places, model.preprocess
        layer = f"@{at}" if at else ""
        layer = f"@{at or model.head_name}:{places}" if places > 1 else layer
        self.name = name or f"{model.spec or type(model.net).__name__}{layer}"

    @property
    def fingerprint(self) -> str:
        """Hash of weights, preprocessing, layer and places: weights that were trained on give another one."""
        cells = (self.places,) if self.places > 1 else ()
        return weights_fingerprint(self.model.net, self.preprocess.as_dict(), self.at or self.model.head_name, *cells)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, D]``."""
        return self.model.features(image, self.at, self.places)


class TowerEncoder(nn.Module):
    """A net that gives vectors and has no classes: CLIP's image half, a timm backbone without its head.

    Args:
        net: takes the preprocessed image, returns ``[B, D]``.
        preprocess: what it was trained on.
        name: for reports.
    """

    def __init__(self, net: nn.Module, preprocess: Preprocess, name: str) -> None:
        super().__init__()
        self.net, self.preprocess, self.name = net, preprocess, name

    @property
    def fingerprint(self) -> str:
        """Hash of weights and preprocessing."""
        return weights_fingerprint(self.net, self.preprocess.as_dict())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, D]``."""
        return self.net(self.preprocess(image)).flatten(1)


class PixelEncoder(nn.Module):
    """The image itself, small: the baseline every encoder must beat.

    Args:
        size: side in pixels; vectors have ``3 * size * size`` numbers in 0..1.
    """

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        require(size >= 1, "size", size, "at least 1 pixel")
        self.size = size
        self.name = self.fingerprint = f"pixels:{size}"
        self.preprocess = Preprocess((0.0,) * 3, (1.0,) * 3, (size, size), crop="squash")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, 3 * size * size]``."""
        return self.preprocess(image).flatten(1)


def open_encoder(
    spec: Any,
    *,
    weights: Path | str | None = None,
    classes: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> ModelEncoder | TowerEncoder | PixelEncoder:
    """Open an encoder.

    Args:
        spec: ``pixels`` or ``pixels:SIZE``; anything :func:`~kintsugi.models.open.open_model` takes, with ``@LAYER``
            after it for another layer than the last, and ``@LAYER:PLACES`` to average its maps within PLACES x PLACES
            cells; ``open_clip:ARCH/TAG`` gives the image half alone. An encoder or a model is also taken.
        weights: a local checkpoint, or ``random``.
        classes: names of the model's outputs, where opening needs them.
        device: where to put it.
        seed: of random weights.

    Raises:
        BadArgument: what is named has no features.
    """
    made: ModelEncoder | TowerEncoder | PixelEncoder
    if isinstance(spec, ModelEncoder | TowerEncoder | PixelEncoder):
        made = spec
    elif isinstance(spec, TorchModel):
        made = ModelEncoder(spec)
    else:
        text, _, where = str(spec).partition("@") if isinstance(spec, str) else (spec, "", "")
        layer, colon, cells = where.partition(":")
        if colon and not (layer and cells.isdecimal() and int(cells) >= 1):
            raise BadArgument.of("encoder", spec, "MODEL@LAYER:PLACES with a whole number from 1")
        kind, _, name = str(text).partition(":")
        if kind == "pixels":
            if where or (name and not name.isdecimal()):
                raise BadArgument.of("encoder", spec, "pixels:SIZE with a whole number")
            made = PixelEncoder(int(name or 16))
        elif kind == "open_clip" and not layer:
            from kintsugi.models.adapters.from_open_clip import open_tower

            made = TowerEncoder(*open_tower(name, weights=weights, rng=torch_rng(seed, "weights")), name=str(text))
        else:
            if kind == "small" and classes is None and weights in (None, RANDOM):
                classes = [str(k) for k in range(10)]  # features do not depend on how many classes there are
            model = open_model(text, classes=classes, weights=weights, seed=seed)
            if not isinstance(model, TorchModel):
                raise BadArgument(f"encoder={spec!r} gives no features:", "name a torch model, or pixels:16.")
            made = ModelEncoder(model, layer or None, spec if isinstance(spec, str) else None, int(cells or 1))
    return made.to(device).eval()
