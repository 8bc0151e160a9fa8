"""EDM preconditioning: a raw network becomes a denoiser whose inputs, outputs and errors have unit size at any noise.

Karras et al. 2022, arXiv 2206.00364, section 5, with the learned uncertainty of Karras et al. 2023, arXiv 2312.02696,
eq. 21, in the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.mp import MPConv, MPFourier
from kintsugi.training.grouping import known_labels
from kintsugi.training.objective.base import Loss, Objective


class Uncertainty(nn.Module):
    """u(sigma), the logarithm of the loss expected at each noise level; learned beside the denoiser, then dropped."""

    def __init__(self, rng: torch.Generator, channels: int = 128) -> None:
        super().__init__()
        self.fourier = MPFourier(channels, rng)
        self.linear = MPConv(channels, 1, 0, rng)

    def forward(self, sigma: torch.Tensor) -> torch.Tensor:
        """Noise levels ``[B]`` to ``[B]``."""
        return self.linear(self.fourier(sigma.log() / 4))[:, 0]


class Denoiser(nn.Module):
    """D(x, sigma) = c_skip x + c_out F(c_in x, ln(sigma) / 4): predicts the clean image.

    Args:
        net: the raw network F, with ``embed(label)`` and ``forward(x, noise, embedding)``.
        sigma_data: standard deviation of the data.
    """

    def __init__(self, net: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.net, self.sigma_data = net, sigma_data

    def embed(self, label: torch.Tensor) -> torch.Tensor:
        """Class embedding ``[B, E]`` of labels int64 ``[B]``, -1 for none."""
        return self.net.embed(label)  # type: ignore[operator]

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Noisy images ``[B, C, H, W]`` of noise level ``sigma`` ``[B]`` to clean ones."""
        s, d = sigma.reshape(-1, 1, 1, 1), self.sigma_data
        total = s**2 + d**2
        raw = self.net(x * total.rsqrt(), sigma.log() / 4, embedding)
        return d**2 / total * x + s * d * total.rsqrt() * raw


def denoising_loss(
    denoised: torch.Tensor, clean: torch.Tensor, sigma: torch.Tensor, sigma_data: float, log_error: torch.Tensor
) -> torch.Tensor:
    """Loss of each image, float ``[B]``: lambda(sigma) |D - y|^2 / exp(u) + u, with the error a mean over pixels."""
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    error = (denoised - clean).square().flatten(1).mean(dim=1)
    return weight * error * torch.exp(-log_error) + log_error


class DenoisingLoss(Objective):
    """Predict clean images from noisy ones at random noise levels, ln(sigma) ~ N(``mean``, ``std``^2).

    Args:
        mean: of ln(sigma).
        std: of ln(sigma).
        sigma_data: standard deviation of images in -1..1.
        label_dropout: share of images shown without their class, for classifier-free guidance.
        rng: draws the start of the learned uncertainty, which is trained beside the denoiser and then dropped.
    """

    def __init__(
        self,
        *,
        mean: float = -0.8,
        std: float = 1.4,
        sigma_data: float = 0.5,
        label_dropout: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.mean, self.std, self.sigma_data, self.label_dropout = mean, std, sigma_data, label_dropout
        self.uncertainty = Uncertainty(rng)

    def setup(self, data: ImageSet) -> None:
        """Refuse samples without a label: each would teach "no class" something else."""
        known_labels(data, "pixel_diffusion")

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The denoising loss of a batch; all draws come from the step's own generator."""
        clean = batch.image * 2 - 1
        n, device = len(clean), clean.device
        sigma = torch.exp(self.mean + self.std * torch.randn(n, generator=self.rng, device=device))
        noise = torch.randn(clean.shape, generator=self.rng, device=device)
        hidden = torch.rand(n, generator=self.rng, device=device) < self.label_dropout
        embedding = model.embed(batch.label.masked_fill(hidden, -1))
        denoised = model(clean + sigma.reshape(-1, 1, 1, 1) * noise, sigma, embedding)
        log_error = self.uncertainty(sigma)
        each = denoising_loss(denoised, clean, sigma, self.sigma_data, log_error)
        plain = denoising_loss(denoised, clean, sigma, self.sigma_data, torch.zeros_like(sigma))
        return Loss(each.mean(), {"denoising": plain.mean().detach()})
