"""Randomness is passed, never global: named streams derived from one seed, the same whatever ran before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one named use of ``seed``: ``derive(0, "sampler", epoch)``.

    A hash and not a sum, so that streams of neighbouring seeds or steps share nothing.
    """
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_rng(seed: int, *path: str | int) -> np.random.Generator:
    """A NumPy generator for one named use of ``seed``."""
    return np.random.default_rng(derive(seed, *path))


def torch_rng(seed: int, *path: str | int, device: Any = "cpu") -> torch.Generator:
    """A torch generator for one named use of ``seed``, on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(derive(seed, *path))


def draw_seed(rng: np.random.Generator | torch.Generator) -> int:
    """Draw a seed from a generator that was passed, to derive named streams from it."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**62))
    import torch

    return int(torch.randint(2**62, (1,), generator=rng, device=rng.device).item())
