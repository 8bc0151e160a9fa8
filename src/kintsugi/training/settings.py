"""`Training`: how the loop trains, checked when it is made; and the learning rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kintsugi.core.errors import one_of, require

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant", "linear", "step")
PRECISIONS = ("auto", "no", "fp16", "bf16")
DEFAULT_EPOCHS = 10


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train. A *step* is one update of the weights, from ``accumulate`` batches.

    Args:
        epochs: passes of the sampler; 10 when neither this nor ``steps`` is given.
        steps: updates, instead of ``epochs``.
        batch_size: images a batch, over all processes.
        lr: learning rate at the top of the schedule.
        weight_decay: decoupled and scaled by the schedule with ``adamw``, an L2 penalty with the others.
        optimizer: ``adamw``, ``adam`` or ``sgd``.
        momentum: of ``sgd``.
        schedule: ``cosine`` or ``linear`` to 0, ``constant``, or ``step`` (a tenth from 50% and again from 75%).
        warmup: steps of linear rise to ``lr`` before the schedule begins.
        clip: largest norm of the gradient over all weights; None does not clip.
        ema: decay of an exponential average of the weights, kept below (1 + t) / (10 + t) at update t so that the first
            weights are forgotten; the trained model ends with the average.
        ema_power: gamma of the power-function average instead (Karras et al. 2024, equation 127: decay
            (1 - 1/t)^(gamma + 1)), which forgets the start at every length of training.
        precision: ``no`` (float32), ``bf16``, ``fp16`` (CUDA only), or ``auto``: what ``accelerate launch`` was told,
            else bf16 where CUDA has it, else ``no``.
        accumulate: batches a step. The last step of an epoch takes what is left.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        checkpoint_every: steps between checkpoints in a run folder; None writes one at the end only.
        log_every: steps between lines of metrics.
        size: (height, width) images are decoded to; None takes what the model's preprocessing scales to, and keeps
            their own where it states nothing.
        fit: ``crop``, ``squash`` or ``pad``, for images of another shape than ``size``.
        workers: decoding threads; None takes one a core.

    Raises:
        BadArgument: a value is not allowed.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup: int = 0
    clip: float | None = None
    ema: float | None = None
    ema_power: float | None = None
    precision: str = "auto"
    accumulate: int = 1
    device: str = "auto"
    checkpoint_every: int | None = 500
    log_every: int = 50
    size: tuple[int, int] | None = None
    fit: str = "crop"
    workers: int | None = None

    def __post_init__(self) -> None:
        require(self.epochs is None or self.steps is None, "steps", self.steps, "either epochs or steps")
        for name in ("epochs", "steps", "batch_size", "accumulate", "checkpoint_every", "log_every"):
            value = getattr(self, name)
            optional = name in ("epochs", "steps", "checkpoint_every")
            ok = isinstance(value, int) and value >= 1
            require(ok or (optional and value is None), name, value, "a whole number from 1")
        require(0 < self.lr < math.inf, "lr", self.lr, "a number above 0")
        require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "a number from 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number from 0 to below 1")
        require(isinstance(self.warmup, int) and self.warmup >= 0, "warmup", self.warmup, "a whole number of steps")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "a number above 0, or None")
        require(self.ema is None or 0 < self.ema < 1, "ema", self.ema, "a decay between 0 and 1, or None")
        require(self.ema_power is None or self.ema_power > 0, "ema_power", self.ema_power, "a number above 0, or None")
        require(self.ema is None or self.ema_power is None, "ema_power", self.ema_power, "either ema or ema_power")
        require(self.workers is None or self.workers >= 0, "workers", self.workers, "a whole number from 0, or None")
        ok = self.size is None or (len(self.size) == 2 and all(isinstance(n, int) and n >= 1 for n in self.size))
        require(ok, "size", self.size, "(height, width), or None")
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("fit", self.fit, ("crop", "squash", "pad"))

    def total(self, batches: int) -> int:
        """Steps in all, where an epoch has ``batches`` batches."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or DEFAULT_EPOCHS) * math.ceil(batches / self.accumulate)

    def rate(self, step: int, total: int) -> float:
        """Learning rate of ``step`` (from 0) of ``total``."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.lr
        done = min(1.0, (step - self.warmup) / max(1, total - self.warmup))
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * done))
        if self.schedule == "linear":
            return self.lr * (1.0 - done)
        return self.lr * (0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0)
