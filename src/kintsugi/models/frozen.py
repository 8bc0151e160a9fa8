"""Asking a model for gradients of its input and leaving it as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def frozen(*things: Any) -> Iterator[None]:
    """Hold modules in eval mode and without weight gradients; both are put back as they were, layer by layer."""
    modules = [module for thing in things if isinstance(thing, nn.Module) for module in thing.modules()]
    weights = [weight for thing in things if isinstance(thing, nn.Module) for weight in thing.parameters()]
    modes, wanted = [module.training for module in modules], [weight.requires_grad for weight in weights]
    try:
        for module in modules:
            module.training = False
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for weight, want in zip(weights, wanted, strict=True):
            weight.requires_grad_(want)
