"""torchvision: preprocessing and class names from the weights' own ``meta`` and ``transforms``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadArgument
from kintsugi.models.adapters.opened import RANDOM, Opened, checked, from_hub, grown, numbered
from kintsugi.models.preprocess import Preprocess

if TYPE_CHECKING:
    import torch
    from torch import nn


def open_torchvision(
    name: str,
    *,
    weights: Path | str | None = None,
    num_classes: int | None = None,
    rng: torch.Generator | None = None,
) -> Opened:
    """Open ``torchvision:NAME`` or ``torchvision:NAME/WEIGHTS`` (such as ``resnet50/IMAGENET1K_V1``).

    Args:
        name: a classifier of ``torchvision.models``; without WEIGHTS its default ones.
        weights: a local checkpoint, ``random``, or None for the pretrained ones.
        num_classes: outputs of a net with random weights.
        rng: draws random weights.
    """
    import torchvision.models as zoo

    arch, _, tag = name.partition("/")
    known = zoo.list_models(module=zoo)
    if arch not in known:
        near = difflib.get_close_matches(arch, known, n=4) or known[:4]
        raise BadArgument(f"torchvision has no classifier {arch!r}.", f"Near: {', '.join(near)}.")
    choices: Any = zoo.get_model_weights(arch)
    if tag and tag not in choices.__members__:
        raise BadArgument(f"{arch} has no weights {tag!r}.", f"Known: {', '.join(choices.__members__)}.")
    chosen = choices[tag] if tag else choices.DEFAULT

    def build(outputs: int | None) -> nn.Module:
        options: dict[str, Any] = {} if outputs is None else {"num_classes": outputs}
        if arch in ("googlenet", "inception_v3"):
            options["init_weights"] = True
        return zoo.get_model(arch, weights=None, **options)

    notes: tuple[str, ...] = ()
    if weights is None:
        with from_hub(f"torchvision:{name}"):
            net = zoo.get_model(arch, weights=chosen)
    else:
        net = grown(build, weights, num_classes, rng)
        if weights != RANDOM:
            notes = (f"The checkpoint does not state its preprocessing: that of {chosen} was taken.",)
    outputs = _outputs(net)
    names = chosen.meta["categories"]
    classes = tuple(names) if len(names) == outputs else numbered(outputs)
    return Opened(net, classes, _preprocess(chosen, name), notes=notes)


def _preprocess(chosen: Any, name: str) -> Preprocess:
    transform = chosen.transforms()
    size, resize = list(transform.crop_size), list(transform.resize_size)
    preprocess = Preprocess(
        transform.mean,
        transform.std,
        (size[0], size[-1]),
        resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
        interpolation=transform.interpolation.value,
    )
    return checked(preprocess, transform, f"torchvision:{name}")


def _outputs(net: nn.Module) -> int:
    from kintsugi.models.base import last_layer

    return int(last_layer(net)[1].weight.shape[0])
