"""What an adapter hands over, and the three things every adapter must not forget."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kintsugi.core.errors import BadCheckpoint
from kintsugi.models.base import last_layer
from kintsugi.models.checkpoint import fitted, load_into, read_state
from kintsugi.models.seeded import seeded

if TYPE_CHECKING:
    from kintsugi.models.preprocess import Preprocess

RANDOM = "random"  # the word for no weights at all


@dataclass(frozen=True)
class Opened:
    """A library's net with what its configuration says.

    Attributes:
        net: takes the preprocessed image, returns logits.
        classes: names of its outputs, numbers where nobody named them.
        preprocess: from the configuration, checked against the library's own.
        wnids: WordNet ids of the outputs, where known.
        notes: what had to be assumed.
    """

    net: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    wnids: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def numbered(count: int) -> tuple[str, ...]:
    """Class names where there are none."""
    return tuple(map(str, range(count)))


@contextlib.contextmanager
def from_hub(spec: str) -> Iterator[None]:
    """Say plainly that pretrained weights could not be fetched, and what to do."""
    errors: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError)
    with contextlib.suppress(ImportError):  # what huggingface_hub raises when offline is none of the above
        import httpx

        errors = (*errors, httpx.HTTPError)
    try:
        yield
    except errors as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BadCheckpoint(
            f"The pretrained weights of {spec} could not be loaded ({why}).",
            "Check the name and the connection, or give a local checkpoint with --weights FILE.",
        ) from error


def grown(
    build: Callable[[int | None], nn.Module], weights: Path | str, num_classes: int | None, rng: torch.Generator | None
) -> nn.Module:
    """A net with random weights, or with those of a local checkpoint, which also tells the number of classes.

    Args:
        build: makes the net with a number of outputs; None is the library's default.
        weights: ``random`` or a file.
        num_classes: outputs of a net with random weights.
        rng: draws them.
    """
    if weights == RANDOM:
        with seeded(rng):
            return build(num_classes)
    state = read_state(weights)
    with seeded(rng):
        net = build(None)
        state = fitted(state, net)
        name, layer = last_layer(net)
        saved = state.get(f"{name}.weight")
        if saved is not None and saved.shape[0] != layer.weight.shape[0]:
            net = build(int(saved.shape[0]))
    load_into(net, state, weights)
    return net


def checked(preprocess: Preprocess, library: Callable[[Any], Any], spec: str) -> Preprocess:
    """The same preprocessing, after comparing it with the library's own on one picture.

    Args:
        preprocess: built from the configuration.
        library: the library's pipeline, from a Pillow image to a tensor ``[C, H, W]``.
        spec: for the message.

    Raises:
        BadCheckpoint: they differ by more than what two resizing routines differ by.
    """
    from PIL import Image

    picture = _picture()
    with torch.no_grad():
        theirs = torch.as_tensor(library(Image.fromarray(picture))).float().squeeze(0)
        ours = preprocess(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0]
    theirs = theirs[None] if theirs.ndim == 2 else theirs
    low, high = preprocess.value_range
    unit = (high - low) / float(preprocess.std.mean())  # the span of 0..1 in the net's own units
    if ours.shape != theirs.shape or float((ours - theirs).abs().mean()) > 0.02 * unit:
        raise BadCheckpoint(
            f"The preprocessing of {spec} could not be reproduced from its configuration "
            f"(ours gives {_facts(ours)}, the library's {_facts(theirs)}).",
            "Wrap the net yourself: TorchModel(net, classes, Preprocess(...)).",
        )
    return preprocess


def _facts(image: torch.Tensor) -> str:
    return f"{tuple(image.shape)} with mean {float(image.mean()):.3g}"


def _picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A landscape whose colours, sides and corners all differ, so that a flip, a swap or another crop shows."""
    y, x = np.mgrid[0:1:300j, 0:1:400j]
    waves = 0.5 + 0.5 * np.sin(25 * x + 9 * y)
    red, green, blue = 0.9 * x, 0.7 * y**2, 0.3 * waves + 0.2 * (1 - x) * y
    return np.asarray(255 * np.stack((red, green, blue), axis=2), dtype=np.uint8)
