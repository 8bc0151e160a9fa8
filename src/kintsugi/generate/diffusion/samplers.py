"""Sampling as one functional core: steps of the probability-flow ODE, a hook at each step, a differentiable chain.

Noise is added in the variance-exploding form x = clean + sigma * noise (Karras et al. 2022, arXiv 2206.00364). A model
is a *denoiser* ``(x, step) -> predicted clean image``, so that pixel diffusion, latent diffusion and a closed form
are sampled, inverted and guided by the same lines. Euler's step on the ODE *is* DDIM (Song et al. 2020,
arXiv 2010.02502, eq. 13): with alpha_bar = 1 / (1 + sigma^2) and x = z / sqrt(alpha_bar) its update reads
x' = D + sigma' / sigma * (x - D). ``eta`` adds DDIM's noise back; ``eta=1`` is ancestral DDPM sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.utils.checkpoint import checkpoint

from kintsugi.core.errors import one_of, require

Denoise = Callable[[torch.Tensor, int], torch.Tensor]
Hook = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Levels = Sequence[float] | torch.Tensor
METHODS = ("euler", "heun")


def karras_levels(steps: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> torch.Tensor:
<<<<<<< HEAD
    """Noise levels from ``sigma_max`` to ``sigma_min``, then 0 (2206.00364, eq. 5); float64 ``[steps + 1]``."""
=======
    """``steps`` levels from ``sigma_max`` to ``sigma_min``, then 0 (2206.00364, eq. 5); float64 ``[steps + 1]``."""
>>>>>>> generate
    require(steps >= 2, "steps", steps, "at least 2")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1, dtype=torch.float64)])


def sample(
    denoise: Denoise,
    x: torch.Tensor,
    levels: Levels,
    *,
    method: str = "euler",
    hook: Hook | None = None,
    last: int = 1,
    eta: float = 0.0,
    rng: torch.Generator | None = None,
    checkpointed: bool = False,
) -> torch.Tensor:
    """Walk ``x`` down the noise levels and return the clean images predicted on the way.

    The whole chain is differentiable with respect to ``x`` and whatever ``denoise`` closes over.

    Args:
        denoise: clean image predicted for ``(x, step)``; ``step`` counts from 0.
        x: float ``[B, ...]``, noise of level ``levels[0]`` (on top of an image, if any).
        levels: noise levels, falling; the last one is where the walk ends, 0 by custom.
        method: ``euler`` (first order, which is DDIM) or ``heun`` (second order; twice the calls of ``denoise``).
        hook: changes a prediction, ``(x, level, predicted) -> predicted``; guidance goes here.
        last: how many of the final steps to return.
        eta: share of DDIM's noise, 0 deterministic, 1 ancestral; only with ``euler``.
        rng: draws that noise.
        checkpointed: keep only each step's input for the backward pass and compute the step again: memory of one
            step for the price of one more forward pass.

    Returns:
        ``[last, B, ...]``, final prediction last.
    """
    steps = len(levels) - 1
    one_of("method", method, METHODS)
    require(1 <= last <= steps, "last", last, f"1 to {steps}, the number of sampling steps")
    require(0 <= eta <= 1 and (not eta or (method == "euler" and rng is not None)), "eta", eta,
            "0, or up to 1 with method 'euler' and an rng")  # fmt: skip
    step_of = _heun if method == "heun" else _euler
    predicted = []
    for number in range(steps):
        here, there = float(levels[number]), float(levels[number + 1])
        down, up = _split(here, there, eta)
        step = _step(step_of, denoise, hook, number, here, down)
        x, clean = checkpoint(step, x, use_reentrant=False, preserve_rng_state=False) if checkpointed else step(x)
        if up:
            x = x + up * torch.randn(x.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)  # type: ignore[union-attr]
        if number >= steps - last:
            predicted.append(clean)
    return torch.stack(predicted)


def _split(here: float, there: float, eta: float) -> tuple[float, float]:
    """The level to step down to and the noise to add back, eq. 16 of 2010.02502 in this form."""
    up = eta * there * (max(here**2 - there**2, 0.0)) ** 0.5 / here
    return (there**2 - up**2) ** 0.5, up


def _step(step_of, denoise, hook, number, here, there):
    def predict(x: torch.Tensor, at: int, level: float) -> torch.Tensor:
        clean = denoise(x, at)
        return clean if hook is None else hook(x, torch.tensor(level, dtype=x.dtype, device=x.device), clean)

    return lambda x: step_of(predict, x, number, here, there)


def _euler(predict, x, number, here, there):
    """One first-order step: x' = x + (s' - s) (x - D) / s."""
    clean = predict(x, number, here)
    return x + (there - here) / here * (x - clean), clean


def _heun(predict, x, number, here, there):
    """Euler's step, then the slope averaged with the one found at its end (2206.00364, algorithm 1)."""
    clean = predict(x, number, here)
    slope = (x - clean) / here
    guess = x + (there - here) * slope
    if there == 0:  # the slope is not defined at level 0, and the step ends on the prediction itself
        return guess, clean
    slope = (slope + (guess - predict(guess, number + 1, there)) / there) / 2
    return x + (there - here) * slope, clean


def invert(denoise: Denoise, clean: torch.Tensor, levels: Levels, *, iterations: int = 8) -> torch.Tensor:
    """Noise of level ``levels[0]`` from which Euler's walk leads to ``clean``: the ODE walked upwards.

    Each step solves x = x' + (1 - s'/s) (x - D(x, s)) for x by fixed-point iteration, the exact inverse of the step
    the sampler takes; one iteration is the usual DDIM inversion.
    """
    require(iterations >= 1, "iterations", iterations, "at least 1")
    x = clean
    for number in reversed(range(len(levels) - 1)):
        share = 1 - float(levels[number + 1]) / float(levels[number])
        below = x
        for _ in range(iterations):
            x = below + share * (x - denoise(x, number))
    return x


@torch.no_grad()
def keep_norm(latent: torch.Tensor, norm: torch.Tensor) -> None:
    """Rescale every latent of ``[B, ...]`` to its length in ``norm`` ``[B]``, in place."""
    scale = norm / latent.flatten(1).norm(dim=1).clamp_min(1e-12)
    latent.mul_(scale.reshape(-1, *[1] * (latent.ndim - 1)))


def classifier_free(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance, D_u + w (D_c - D_u) (Ho and Salimans 2022, arXiv 2207.12598)."""
    return unconditional + scale * (conditional - unconditional)


def classifier_guidance(log_prob: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scale: float = 1.0) -> Hook:
    """A hook that follows the gradient of a noise-aware classifier (Dhariwal and Nichol 2021, arXiv 2105.05233).

    The score grows by ``scale`` times the gradient of log p(y | x) at the noisy x; with score = (D - x) / sigma^2 the
    prediction grows by sigma^2 times as much. In DDIM's form this is eps - sqrt(1 - alpha_bar) * scale * gradient.

    Args:
        log_prob: ``(x, level) -> [B]``, log p(y | x) of the noisy images; in eval mode, trained on noisy images.
        scale: sharpens p(y | x) to its ``scale``-th power; 1 is far too weak for an unconditional model.
    """

    def hook(x: torch.Tensor, level: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        chain = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            leaf = x if chain else x.detach().requires_grad_()
            # Of the sum, not the mean, over the batch: images do not share their guidance.
            (gradient,) = torch.autograd.grad(log_prob(leaf, level).sum(), leaf, create_graph=chain)
        return clean + scale * level**2 * gradient

    return hook
