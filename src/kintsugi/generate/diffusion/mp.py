"""Magnitude-preserving layers: activations, weights and update sizes stay constant through training.

Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models" (2023), arXiv 2312.02696,
equation numbers as there. Every operation maps inputs of unit root-mean-square to outputs of unit root-mean-square,
so that no group norm and no bias is needed.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

SILU_RMS = 0.596  # root-mean-square of silu(x) for x ~ N(0, 1)


def normalize(x: torch.Tensor, dims: tuple[int, ...] | None = None, eps: float = 1e-4) -> torch.Tensor:
    """Scale ``x`` to unit root-mean-square over ``dims`` (default: all but the first), eq. 66."""
    dims = tuple(range(1, x.ndim)) if dims is None else dims
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    norm = eps + norm * math.sqrt(norm.numel() / x.numel())
    return x / norm.to(x.dtype)


def mp_silu(x: torch.Tensor) -> torch.Tensor:
    """SiLU divided by its root-mean-square on unit noise, eq. 81."""
    return functional.silu(x) / SILU_RMS


def mp_sum(a: torch.Tensor, b: torch.Tensor, t: float = 0.5) -> torch.Tensor:
    """``a`` and ``b`` mixed in proportion ``1 - t : t``, unit for uncorrelated unit inputs, eq. 88."""
    return torch.lerp(a, b, t) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a: torch.Tensor, b: torch.Tensor, t: float = 0.5) -> torch.Tensor:
    """Channels of ``a`` and ``b`` joined so that they weigh ``1 - t : t`` whatever their number, eq. 103."""
    na, nb = a.shape[1], b.shape[1]
    scale = math.sqrt((na + nb) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (scale * (1 - t) / math.sqrt(na)), b * (scale * t / math.sqrt(nb))], dim=1)


class MPFourier(nn.Module):
    """Random Fourier features of a number, eq. 75: ``[B]`` to ``[B, channels]``."""

    freqs: torch.Tensor
    phases: torch.Tensor

    def __init__(self, channels: int, rng: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels, generator=rng))
        self.register_buffer("phases", torch.rand(channels, generator=rng))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of unit root-mean-square."""
        return math.sqrt(2) * torch.cos(2 * math.pi * (x[:, None] * self.freqs + self.phases))


class MPConv(nn.Module):
    """A convolution, or a linear map for ``kernel=0``, whose weight rows stay on the sphere; no bias (eq. 47, 66).

    In training mode the stored weight is first overwritten by its normalised self (forced normalisation); the weight
    in use is then normalised again, with gradients flowing through, so that updates are tangent to the sphere.

    Args:
        cin: input channels.
        cout: output channels.
        kernel: side of the kernel, 0 for a linear map.
        rng: draws the initial weight.
    """

    def __init__(self, cin: int, cout: int, kernel: int, rng: torch.Generator) -> None:
        super().__init__()
        shape = (cout, cin, kernel, kernel) if kernel else (cout, cin)
        self.weight = nn.Parameter(normalize(torch.randn(shape, generator=rng)))

    def forward(self, x: torch.Tensor, gain: torch.Tensor | float = 1.0) -> torch.Tensor:
        """Apply the map, its output multiplied by ``gain``."""
        if self.training:
            with torch.no_grad():
                self.weight.copy_(normalize(self.weight))
        # Divided by sqrt(fan in) after normalising: at initialisation it would change the effective step size.
        weight = normalize(self.weight) * (gain / math.sqrt(self.weight[0].numel()))
        return (
            functional.linear(x, weight)
            if weight.ndim == 2
            else functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        )
