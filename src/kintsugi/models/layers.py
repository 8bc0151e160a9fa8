"""Layers by name: what they put out, pooled to vectors, several in one pass; and which of them end a stage."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument, require


def pooled(value: torch.Tensor, net: nn.Module, places: int = 1) -> torch.Tensor:
    """What a layer of ``net`` put out as vectors ``[B, D]``.

    Maps are averaged over their places; of tokens the class token is taken, or their mean where ``net`` has none.

    Args:
        value: the output.
        net: the net.
        places: maps are averaged within ``places`` x ``places`` cells, D = channels x ``places``^2: what is where
            stays known. Cells overlap where sides are no multiple of ``places``, and repeat where maps are smaller.

    Raises:
        BadArgument: more than one place is asked of a layer that gives no maps.
    """
    require(isinstance(places, int) and places >= 1, "places", places, "a whole number from 1")
    if value.ndim == 4:
        last = any(getattr(module, "output_fmt", None) == "NHWC" for module in net.modules())
        if places > 1:
            maps = value.permute(0, 3, 1, 2) if last else value
            return functional.adaptive_avg_pool2d(maps, places).flatten(1)
        return value.mean((1, 2) if last else (2, 3))
    if places > 1:
        raise BadArgument(
            f"places={places} needs a layer that gives maps, and this one gives shape {tuple(value.shape)}:",
            "name another layer with at=, or take places=1.",
        )
    if value.ndim == 3:
        names = {name.rpartition(".")[2] for name, _ in net.named_parameters()}
        token = names & {"cls_token", "class_token", "class_embedding"}
        return value[:, 0] if token else value.mean(1)
    return value.flatten(1)


def features_at(net: nn.Module, image: torch.Tensor, names: Sequence[str]) -> list[torch.Tensor]:
    """Pooled outputs ``[B, D]`` of several layers, in one pass.

    Args:
        net: takes the image.
        image: float ``[B, C, H, W]``.
        names: layers as ``net.named_modules()`` calls them; of a layer that runs several times the last run counts.

    Raises:
        BadArgument: there is no such layer, or it was not run.
    """
    layers = dict(net.named_modules())
    caught: dict[str, torch.Tensor] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            if name not in layers:
                near = difflib.get_close_matches(name, layers, n=4) or list(layers)[1:6]
                raise BadArgument(f"There is no layer {name!r}.", f"Near: {', '.join(near)}.")

            def keep(_: nn.Module, __: Any, made: Any, name: str = name) -> None:
                caught[name] = made if isinstance(made, torch.Tensor) else made[0]

            stack.callback(layers[name].register_forward_hook(keep).remove)
        net(image)
    missing = [name for name in names if name not in caught]
    if missing:
        raise BadArgument(f"The layer {missing[0]!r} was not run for this image.", "Name another.")
    return [pooled(caught[name], net) for name in names]


def stages(net: nn.Module) -> tuple[str, ...]:
    """Names of the layers that end the stem and each stage, in order.

    Read off the net's structure: the children that carry weight matrices, without the one that holds the last linear
    layer; where there is a single one, its children; a list of stages counts as its stages. For torchvision's
    EfficientNet these are the nine levels of Rippel et al. 2021. Nets of another build may want names given by hand.

    Raises:
        BadArgument: there is no such layer.
    """
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    prefix, module = "", net
    while True:
        kids = [(name, kid) for name, kid in module.named_children() if _weighs(kid)]
        if len(kids) > 1 and linear:
            kids = [(name, kid) for name, kid in kids if all(part is not linear[-1] for part in kid.modules())] or kids
        if len(kids) != 1 or not any(_weighs(kid) for kid in kids[0][1].children()):
            break
        prefix, module = f"{prefix}{kids[0][0]}.", kids[0][1]
    lists = [name for name, kid in kids if _lists_stages(kid)]
    found: list[str] = []
    for name, kid in kids:
        # Several such lists side by side are the stages themselves, and what they list are their blocks.
        parts = [inner for inner, part in kid.named_children() if _weighs(part)] if lists == [name] else []
        found += [f"{name}.{inner}" for inner in parts] or [name]
    if not found:
        raise BadArgument("The net has no layer with weights to take features from.", "Name layers by hand.")
    return tuple(prefix + name for name in found)


def _weighs(module: nn.Module) -> bool:
    """Whether it holds a matrix or a kernel, and not only norms and scales."""
    return any(weight.ndim >= 2 for weight in module.parameters())


def _lists_stages(module: nn.Module) -> bool:
    """Whether it is a list of lists."""
    lists = (nn.Sequential, nn.ModuleList)
    parts = [part for part in module.children() if _weighs(part)]
    deep = [isinstance(part, lists) or any(isinstance(kid, lists) for kid in part.children()) for part in parts]
    return isinstance(module, lists) and len(parts) > 1 and all(deep)
