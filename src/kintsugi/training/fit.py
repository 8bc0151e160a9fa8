"""`fit`: the one training loop. Any objective, sampler and augmentation; interrupted work goes on to the same weights.

A step draws from streams named by the seed, the use and the step's number, so nothing random needs to be stored:
``sampler`` by epoch; ``augment``, ``objective`` and ``noise`` (torch's global state: dropout and its like) by batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kintsugi.core import progress
from kintsugi.core.budget import BudgetSpent, whole
from kintsugi.core.errors import BadArgument, BadCheckpoint, BadData, KintsugiError
from kintsugi.core.randomness import derive, numpy_rng
from kintsugi.core.run import Run
from kintsugi.data.stream import none_read
from kintsugi.training import checkpoint
from kintsugi.training.average import Average
from kintsugi.training.describe import describe, describe_data, describe_net
from kintsugi.training.feed import Feed
from kintsugi.training.hooks import Validate, evaluating, points
from kintsugi.training.processes import begin
from kintsugi.training.sampling.shuffled import Shuffled
from kintsugi.training.settings import DEFAULT_EPOCHS, Training
from kintsugi.training.stepper import Stepper

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from kintsugi.core.batch import Batch
    from kintsugi.core.kinds import Augment, Sampler
    from kintsugi.data.imageset import ImageSet
    from kintsugi.training.objective.base import Loss, Objective


class Diverged(KintsugiError):
    """The loss is no longer a finite number."""


def fit(
    model: nn.Module,
    data: ImageSet,
    objective: Objective,
    *,
    how: Training = Training(),  # noqa: B008 - frozen
    sampler: Sampler | None = None,
    augment: Augment | Sequence[Augment] | None = None,
    hooks: Sequence[Any] = (),
    rng: int = 0,
    run: Run | None = None,
    valid: ImageSet | None = None,
) -> Run:
    """Train ``model`` in place.

    The model is moved to the device and ends there, in evaluation mode, with its trained weights; with ``how.ema`` or
    ``how.ema_power`` these are the averaged ones (the raw ones stay in the checkpoint). In a run folder the final
    weights are ``weights.safetensors``; a folder that has them is not trained again: they are loaded. The weights that
    the model comes with do not name a run: a folder goes on with its own.

    Under ``accelerate launch`` every process trains on its share of each batch, gradients are averaged, and the first
    process writes.

    Args:
        model: images ``[B, C, H, W]`` in 0..1 to logits ``[B, K]``. Weights without ``requires_grad`` stay as they are.
        data: columns ``target`` (soft labels), ``weight`` and ``group`` fill the batch's fields;
            see :func:`kintsugi.training.grouping.with_groups`.
        objective: what to minimise; its own parameters are trained too.
        how: the settings.
        sampler: which samples make a batch; :class:`Shuffled` unless given.
        augment: changes batches, one after the other where several are given.
        hooks: see :mod:`kintsugi.training.hooks`.
        rng: the seed all streams derive from.
        run: where metrics, checkpoints and weights go; None keeps metrics in memory and writes nothing.
        valid: held-out data to measure after each epoch, before the hooks look.

    Returns:
        The run: ``metrics()`` has a line every ``how.log_every`` steps with mean loss and parts since the last.

    Raises:
        BadArgument: the model is no ``torch.nn.Module`` or has nothing to train.
        BadData: the data lacks what the method needs, or the folder holds a run of another configuration.
        Diverged: the loss or the weights are no longer finite; the last checkpoint stays.
        BudgetSpent: the time given to the work is spent; a run folder goes on from the step it came to.
    """
    hooks = [*([Validate(valid)] if valid is not None else []), *hooks]
    if augment is None:
        augments: list[Augment] = []
    else:
        augments = list(augment) if isinstance(augment, Sequence) else [augment]
    loop = _Loop(model, data, objective, how, sampler or Shuffled(), augments, hooks, rng, run or Run(None))
    with loop.run.locked() if loop.processes.main else Run(None).locked():
        loop.train()
    return loop.run


class _Loop:
    """One training: what :class:`kintsugi.training.hooks.Loop` says, and the loop itself."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageSet,
        objective: Objective,
        how: Training,
        sampler: Sampler,
        augments: list[Augment],
        hooks: list[Any],
        seed: int,
        run: Run,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise BadArgument(f"A {type(model).__name__} cannot be trained.", "Give a torch model, not a black box.")
        self.model, self.data, self.objective, self.how, self.seed, self.run = model, data, objective, how, seed, run
        self.sampler, self.augments, self.hooks = sampler, augments, hooks
        self.points = points(hooks)
        self.processes = begin(how.device)
        if how.batch_size % self.processes.world:
            raise BadArgument.of("batch_size", how.batch_size, f"a multiple of the {self.processes.world} processes")
        self.step = self.tick = self.epoch = self.total = self.lines = 0
        self.stop = False
        self.latest: dict[str, Any] = {}
        self._next = 0  # the batch of this epoch to go on from
        self._ended = False
        self._window: list[tuple[int, Tensor, dict[str, Tensor]]] = []

    # ------------------------------------------------------------------------------------- what hooks may call

    def log(self, **values: Any) -> None:
        """Write a line of metrics at this step."""
        self.latest |= values
        self.lines += 1
        if self.processes.main:
            self.run.log(step=self.step, epoch=self.epoch, **values)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model as it would be returned now: averaged weights where there are any, in evaluation mode."""
        with evaluating(self.model), self.average.applied() if self.average else nullcontext():
            yield

    # ------------------------------------------------------------------------------------------------ the loop

    def train(self) -> None:
        """From the start, or the last checkpoint, to the end."""
        if self._finished():
            return
        self._prepare()
        self._resume()
        self.model.train()
        self.objective.train()
        with _random_state_kept(self._noise):
            self._call("on_start")
            if not self._ended:
                self._epochs()
            self._end()

    def _prepare(self) -> None:
        how, device = self.how, self.processes.device
        self.model.to(device)
        self.objective.to(device)  # before setup, which may ask teachers
        for method in (self.sampler, self.objective, *self.augments):
            if (setup := getattr(method, "setup", None)) is not None:
                setup(self.data)
        self.objective.to(device)  # and after it, for what it made
        if self.processes.world > 1:
            self.processes.same([*self.model.state_dict().values(), *self.objective.state_dict().values()])
        self.feed = Feed(self.data, size=how.size, fit=how.fit, model=self.model, workers=how.workers, device=device)
        self.average = None
        if how.ema is not None or how.ema_power is not None:
            self.average = Average(self.model, how.ema, how.ema_power)
        parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.optimizer = Stepper(parameters, how, self.processes, self.average)
        # Each generator by itself: `torch.manual_seed` would seed those of all devices, and takes longer.
        self._noise = [(torch, torch.default_generator.manual_seed)]
        if device.type != "cpu":
            place = getattr(torch, device.type)
            self._noise.append((place, place.manual_seed))
        self._augment_rng = torch.Generator(device)
        self.objective.rng = torch.Generator(device)

    def _epochs(self) -> None:
        plan = self._plan()
        self.total = self.total or self.how.total(len(plan))
        with progress.task("training", self.total) as tracker:
            try:
                tracker.advance(self.step)
                # Over from the start where time ran out after the last step.
                while not self._over() and self._epoch(plan, tracker) and not self._over():
                    plan = self._plan()
            except BudgetSpent:  # between two steps: more time goes on from here
                self._flush()
                self._save()
                raise

    def _epoch(self, plan: list[NDArray[np.int64]], tracker: progress.Tracker) -> bool:
        """Train on the rest of an epoch; False when training ended within it."""
        told, shown, pending, met = self.step, time.monotonic(), 0, self._next > 0
        for number, batch, last in self.feed.batches(plan, self._next):
            self._next, pending, met = number + 1, pending + 1, True
            closing = last or pending == self.how.accumulate
            with whole():  # an objective that attacks, or a hook that validates, asks whether there is time as well
                self._train(batch, closing)
                del batch  # its memory is the next one's
                if not closing:
                    continue
                pending = 0
                self._after_step(last)
            if time.monotonic() - shown > 0.1 or last:
                tracker.advance(self.step - told, f"loss {self.latest['loss']:.4g}" if "loss" in self.latest else "")
                told, shown = self.step, time.monotonic()
            if not last and self._over():
                return False
        if not met:
            raise none_read(self.data, "training ")
        return True

    def _over(self) -> bool:
        if self.how.steps is None and self.epoch >= (self.how.epochs or DEFAULT_EPOCHS):
            return True
        return self.stop or (self.how.steps is not None and self.step >= self.how.steps)

    def _plan(self) -> list[NDArray[np.int64]]:
        rng = numpy_rng(self.seed, "sampler", self.epoch)
        batches = list(self.sampler.epoch(self.epoch, self.how.batch_size, rng))
        if not batches:
            raise BadData(f"{type(self.sampler).__name__} gave no batch in epoch {self.epoch}.", "Check the data.")
        rank, world = self.processes.rank, self.processes.world
        if world == 1:
            return batches
        # Equal shares, so that the mean of the processes' gradients is the batch's: the first rows of a batch that
        # cannot be divided are seen twice.
        return [np.resize(rows, -(-len(rows) // world) * world)[rank::world] for rows in batches]

    def _train(self, batch: Batch, closing: bool) -> None:
        """One batch, with the streams of its number."""
        tick, rank, stepper = self.tick, self.processes.rank, self.optimizer
        noise = derive(self.seed, "noise", tick, rank)
        for _, manual_seed in self._noise:
            manual_seed(noise)
        self.objective.rng.manual_seed(derive(self.seed, "objective", tick, rank))
        if self.augments:
            self._augment_rng.manual_seed(derive(self.seed, "augment", tick, rank))
            for augment in self.augments:
                batch = augment(batch, self._augment_rng)
        stepper.closing = closing
        stepper.lr = self.how.rate(self.step, self.total)
        with stepper.autocast:
            loss: Loss = self.objective.step(self.model, batch, stepper)
        self._window.append((self.step + 1, loss.total.detach(), loss.parts))
        self.tick = tick + 1
        self.step += closing

    def _after_step(self, last: bool) -> None:
        every = self.how.checkpoint_every
        due = self.run.stored and every is not None and self.step % every == 0
        if due or self.step % self.how.log_every == 0 or self.step == self.total:
            self._flush()
        self._call("on_step")
        if last:
            if self.processes.world > 1:
                self.processes.average([tensor for tensor in self.model.buffers() if tensor.is_floating_point()])
            self._call("on_epoch")
            self.epoch, self._next = self.epoch + 1, 0
        if due:
            self._save()

    def _end(self) -> None:
        if not self._ended:
            self._flush()
            self._ended = True
            self._save()
        if self.average is not None:
            self.average.swap()
        self.model.eval()
        self._call("on_end")
        if self.processes.main and self.run.stored:
            self.run.save_weights(self.model.state_dict())
        self.processes.wait()

    def _call(self, point: str) -> None:
        for call in self.points[point]:
            call(self)

    def _flush(self) -> None:
        """Log the mean loss and parts since the last time; until then nothing waits for the device."""
        if not self._window:
            return
        losses = torch.stack([loss for _, loss, _ in self._window]).float()
        self.processes.average([losses])
        for (step, _, _), value in zip(self._window, losses.tolist(), strict=True):
            if not math.isfinite(value):
                raise self._diverged(f"The loss is {value} at step {step}.")
        values: dict[str, Any] = {"loss": float(losses.mean()), "lr": self.optimizer.lr}
        for name in self._window[-1][2]:
            parts = [parts[name] for _, _, parts in self._window if name in parts]
            values[name] = torch.stack(parts).float().mean(dim=0).tolist()
        self._window.clear()
        self.log(**values)

    def _diverged(self, what: str) -> Diverged:
        remedy = "Lower lr, or set warmup or clip."
        if self.run.stored and (found := checkpoint.load(self.run)):
            remedy += f" The checkpoint of step {found[1]['step']} in {self.run.dir} is intact."
        return Diverged(what, remedy)

    # ------------------------------------------------------------------------------------------- interruptions

    def _finished(self) -> bool:
        """Record what is to be done; True, with the weights loaded, where the run folder shows it done."""
        if not self.run.stored:
            return False
        paths = [self.run.path(name) for name in (checkpoint.NAME, "weights.safetensors")]
        if self.processes.main:
            alien = next((path for path in paths if path.exists()), None)
            if not self.run.start(self._config()) and alien is not None:
                raise BadData(f"{alien} is there without the run that wrote it.", "Choose another folder.")
        self.processes.wait()
        if not paths[1].exists():
            return False
        _load(self.model, self.run.load_weights(), paths[1])
        self.model.to(self.processes.device).eval()
        return True

    def _config(self) -> dict[str, Any]:
        how = {name: value for name, value in asdict(self.how).items() if name not in ("workers", "device")}
        parts = {"objective": self.objective, "sampler": self.sampler, "augment": self.augments, "hooks": self.hooks}
        described = {name: describe(part) for name, part in parts.items()}
        # A model that can say how it is built can be opened again from the folder alone.
        tell: Any = getattr(self.model, "describe", dict)
        work = {"work": "training", "how": how, "seed": self.seed, "net": describe_net(self.model), "model": tell()}
        return {**work, "data": describe_data(self.data), **described}

    def _save(self) -> None:
        """A checkpoint, unless the weights are no longer finite."""
        norm = nn.utils.get_total_norm([parameter.detach() for parameter in self.optimizer.parameters])
        if not norm.isfinite():
            raise self._diverged(f"The weights are not finite after step {self.step}.")
        if not (self.processes.main and self.run.stored):
            return
        tensors, facts = self.optimizer.state()
        parts = {"model": self.model.state_dict(), "objective": self.objective.state_dict(), "optimizer": tensors}
        parts |= {f"hook{n}": hook.state() for n, hook in enumerate(self.hooks) if hasattr(hook, "state")}
        own = {name: getattr(self, name) for name in _FACTS}
        checkpoint.save(self.run, parts, {**own, "optimizer": facts})

    def _resume(self) -> None:
        """Go on from the last checkpoint, if there is one, and forget the metrics written after it."""
        if not self.run.stored:
            return
        found = checkpoint.load(self.run)
        if found is not None:
            parts, facts = found
            path = self.run.path(checkpoint.NAME)
            _load(self.model, parts.get("model", {}), path)
            _load(self.objective, parts.get("objective", {}), path)
            self.optimizer.load(parts.get("optimizer", {}), facts["optimizer"])
            for number, hook in enumerate(self.hooks):
                if hasattr(hook, "load"):
                    hook.load(parts.get(f"hook{number}", {}))
            for name in _FACTS:
                setattr(self, name, facts[name])
        if self.processes.main:
            self.run.trim(self.lines)
        self.processes.wait()


# What the loop knows of itself, in a checkpoint's header.
_FACTS = ("step", "tick", "epoch", "total", "lines", "stop", "latest", "_next", "_ended")


def _load(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise BadCheckpoint(f"{path} does not fit ({error}).", "Remove the folder to train from the start.") from error


@contextmanager
def _random_state_kept(noise: list[tuple[Any, Any]]) -> Iterator[None]:
    """Training seeds torch's global generators at every batch; nobody outside sees it."""
    kept = [place.get_rng_state() for place, _ in noise]
    try:
        yield
    finally:
        for (place, _), state in zip(noise, kept, strict=True):
            place.set_rng_state(state)
