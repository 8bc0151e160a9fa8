"""Where the work runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kintsugi.core.errors import BadArgument

if TYPE_CHECKING:
    import torch


def pick(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        BadArgument: no such device here.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadArgument(
            f"device={name!r} cannot be used here ({str(error).splitlines()[0]}).", "Give cpu, cuda or mps."
        ) from error
    return device
