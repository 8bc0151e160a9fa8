"""Weights from a passed generator, though third-party constructors only know the global one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from kintsugi.core.randomness import torch_rng


@contextlib.contextmanager
def seeded(rng: torch.Generator | None = None) -> Iterator[None]:
    """Inside this block torch's constructors draw from ``rng``; the global state is put back afterwards.

    Args:
        rng: a CPU generator, which moves on as if it had been drawn from; None takes the stream ``weights`` of seed 0.
    """
    rng = torch_rng(0, "weights") if rng is None else rng
    before = torch.get_rng_state()
    torch.set_rng_state(rng.get_state())
    try:
        yield
    finally:
        rng.set_state(torch.get_rng_state())
        torch.set_rng_state(before)
