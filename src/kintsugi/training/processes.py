"""One process, or several started by ``accelerate launch``: the few words they need to train as one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kintsugi.core.devices import pick

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Processes:
    """Which process this is.

    Attributes:
        device: where it works.
        rank: its number, from 0.
        world: how many there are.
        state: accelerate's, None for a process alone, which never imports accelerate.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    state: Any = None

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors, in place, by their means over the processes, in one message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors, in place, by those of the first process."""
        if self.world > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Go on when all are here."""
        if self.state is not None:
            self.state.wait_for_everyone()


def begin(device: str) -> Processes:
    """This process, on ``device``; several processes are found by the variables that their launcher sets."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(pick(device))
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    return Processes(state.device, state.process_index, state.num_processes, state)


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, outside the graph: what an objective's batch statistics are made of."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        tensor = tensor.detach().clone()
        torch.distributed.all_reduce(tensor)
    return tensor.detach()


def world() -> int:
    """How many processes train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1
