"""`Stepper`: what objectives see of the optimizer: one ``update`` does all that follows a loss."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kintsugi.core.errors import BadArgument, require

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kintsugi.training.average import Average
    from kintsugi.training.processes import Processes
    from kintsugi.training.settings import Training


class Stepper:
    """Backward, accumulation, mixed precision, averaging over processes, clipping, schedule and weight average.

    A two-step objective calls ``update`` more than once, or ``backward`` and then ``apply`` itself. While ``closing``
    is False, ``update`` only adds to the gradient; it is divided by the number of losses added when it is applied.

    Args:
        parameters: those that need no gradient are left out.
        how: the settings.
        processes: who trains together.
        average: what follows the weights, or None.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], how: Training, processes: Processes, average: Average | None = None
    ) -> None:
        self.how, self.processes, self.average = how, processes, average
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self.parameters:
            raise BadArgument(
                "The model has no weight that needs a gradient.", "Unfreeze some, or use a post-hoc repair."
            )
        self.optimizer = _optimizer(self.parameters, how, processes.device)
        precision = _precision(how.precision, processes.device)
        kind = processes.device.type
        self.autocast: Any = nullcontext()
        self._plain: Any = nullcontext()
        if precision is not None:
            self.autocast = torch.autocast(kind, precision)
            self._plain = torch.autocast(kind, enabled=False)
        self.mixed = precision is not None
        self.scaler = torch.amp.GradScaler(kind) if precision is torch.float16 else None
        self.closing = True
        self._added = 0

    @property
    def lr(self) -> float:
        """The learning rate of this step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = value

    def update(self, loss: Tensor) -> None:
        """Add the gradient of a scalar loss, and step if this batch closes the step."""
        self.backward(loss)
        if self.closing:
            self.apply()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a scalar loss."""
        self._added += 1
        with self._plain:
            (self.scaler.scale(loss) if self.scaler else loss).backward()

    def apply(self) -> None:
        """Step with the gradient gathered, and clear it."""
        if self._added > 1:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(self._added)
        self._added = 0
        if self.processes.world > 1:
            for parameter in self.parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.processes.average([p.grad for p in self.parameters if p.grad is not None])
        if self.how.clip is not None:
            if self.scaler:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.how.clip)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        for parameter in self.parameters:  # what `zero_grad` does, without its entry in the profiler
            parameter.grad = None
        if self.mixed:
            torch.clear_autocast_cache()  # a second forward pass of this step must see the new weights
        if self.average is not None:
            self.average.update()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything to go on from, as tensors by flat name and plain facts."""
        tensors: dict[str, Tensor] = {}
        for number, entries in self.optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                if value is not None:
                    tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value)
        facts: dict[str, Any] = {"scaler": self.scaler.state_dict() if self.scaler else None}
        if self.average is not None:
            facts["averaged"] = self.average.count
            tensors |= {f"average/{number}": mean for number, mean in enumerate(self.average.mean)}
        return tensors, facts

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        found = self.optimizer.state_dict()
        found["state"] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, number, name = key.split("/", 2)
                like = self.parameters[int(number)]
                if value.shape == like.shape:  # fused kernels walk memory: the layout must be the weight's own
                    value = torch.empty_like(like, dtype=value.dtype).copy_(value)
                found["state"].setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict(found)
        if self.scaler and facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        if self.average is not None:
            self.average.count = int(facts["averaged"])
            for place, mean in enumerate(self.average.mean):
                mean.copy_(tensors[f"average/{place}"])


def _optimizer(parameters: list[nn.Parameter], how: Training, device: torch.device) -> torch.optim.Optimizer:
    fused = device.type in ("cpu", "cuda")
    if how.optimizer == "sgd":
        return torch.optim.SGD(parameters, how.lr, how.momentum, weight_decay=how.weight_decay, fused=fused)
    kind = torch.optim.AdamW if how.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, how.lr, weight_decay=how.weight_decay, fused=fused)


def _precision(name: str, device: torch.device) -> torch.dtype | None:
    if name == "auto":
        name = os.environ.get("ACCELERATE_MIXED_PRECISION", "")
        if name not in ("no", "fp16", "bf16"):
            name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "no"
    require(name != "fp16" or device.type == "cuda", "precision", name, f"no or bf16 on {device.type}")
    return {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}[name]
