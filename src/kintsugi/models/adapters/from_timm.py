"""timm: preprocessing from the model's ``pretrained_cfg``, class names from timm's ImageNet tables."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadArgument
from kintsugi.core.optional import need
from kintsugi.models.adapters.opened import Opened, checked, from_hub, grown, numbered
from kintsugi.models.preprocess import Preprocess

if TYPE_CHECKING:
    import torch
    from torch import nn


def open_timm(
    name: str,
    *,
    weights: Path | str | None = None,
    num_classes: int | None = None,
    rng: torch.Generator | None = None,
) -> Opened:
    """Open ``timm:NAME``.

    Args:
        name: as ``timm.create_model`` takes it, such as ``resnet18.a1_in1k`` or ``hf-hub:owner/name``.
        weights: a local checkpoint, ``random``, or None for the pretrained ones.
        num_classes: outputs of a net with random weights.
        rng: draws random weights.
    """
    timm = need("timm", "models")
    if ":" not in name and not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=4)
        raise BadArgument(f"timm has no model {name!r}.", f"Near: {', '.join(near)}." if near else "See timm's list.")

    def build(outputs: int | None) -> nn.Module:
        options = {} if outputs is None else {"num_classes": outputs}
        return timm.create_model(name, pretrained=False, **options)

    if weights is None:
        with from_hub(f"timm:{name}"):
            net = timm.create_model(name, pretrained=True)
    else:
        net = grown(build, weights, num_classes, rng)
    classes, wnids = _classes(net, timm)
    return Opened(net, classes, timm_preprocess(net, name), wnids)


def timm_preprocess(net: nn.Module, name: str) -> Preprocess:
    """The evaluation transform of a timm net, checked against timm's own."""
    timm_data = need("timm.data", "models")
    config: dict[str, Any] = timm_data.resolve_model_data_config(net)
    _, height, width = config["input_size"]
    percent, mode = config["crop_pct"], config["crop_mode"]
    scaled = (int(height // percent), int(width // percent))
    interpolation = config["interpolation"] if config["interpolation"] in ("nearest", "bilinear") else "bicubic"
    preprocess = Preprocess(
        config["mean"],
        config["std"],
        (height, width),
        resize=scaled if mode == "squash" else scaled[0] if height == width else None,
        crop="squash" if mode == "squash" else "center",
        interpolation=interpolation,
    )
    return checked(preprocess, timm_data.create_transform(**config, is_training=False), f"timm:{name}")


def _classes(net: Any, timm: Any) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    config, outputs = getattr(net, "pretrained_cfg", None) or {}, int(net.num_classes)
    names = config.get("label_names")
    if names and len(names) == outputs:
        words = config.get("label_descriptions") or {}
        return tuple(str(words.get(one, one)) for one in names), None
    subset = timm.data.infer_imagenet_subset(net)
    if not subset:
        return numbered(outputs), None
    info = timm.data.ImageNetInfo(subset)
    wnids = tuple(info.index_to_label_name(k) for k in range(outputs))
    return tuple(info.index_to_description(k) for k in range(outputs)), wnids
