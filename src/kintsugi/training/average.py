"""`Average`: a running average of a model's weights, by constant decay or by a power function of time.

Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models", 2024 (arXiv 2312.02696): the
power-function average has decay beta(t) = (1 - 1/t)^(gamma + 1) (equation 127), so its length is a share of training.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class Average:
    """Averages weights and floating buffers (such as batch norm's statistics, which belong to the weights).

    Args:
        model: its tensors are followed where they lie; move it to its device first.
        decay: of the constant-decay average, kept below (1 + t) / (10 + t).
        power: gamma of the power-function average, used when given.
    """

    def __init__(self, model: nn.Module, decay: float | None, power: float | None = None) -> None:
        self.decay, self.power, self.count = decay, power, 0
        tensors = [*model.parameters(), *model.buffers()]
        self.live: list[Tensor] = [tensor.data for tensor in tensors if tensor.is_floating_point()]
        self.mean: list[Tensor] = [tensor.clone() for tensor in self.live]

    def beta(self, count: int) -> float:
        """The decay at update ``count`` (from 1)."""
        if self.power is not None:
            return (1.0 - 1.0 / count) ** (self.power + 1.0)
        return min(self.decay or 0.0, (1.0 + count) / (10.0 + count))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.count += 1
        torch._foreach_lerp_(self.mean, self.live, 1.0 - self.beta(self.count))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the model's weights, in place."""
        kept = [tensor.clone() for tensor in self.live]
        torch._foreach_copy_(self.live, self.mean)
        torch._foreach_copy_(self.mean, kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside this block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
