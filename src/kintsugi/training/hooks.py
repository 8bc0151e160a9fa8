"""Hooks: objects with any of ``on_start``, ``on_step``, ``on_epoch`` and ``on_end`` that look on during training."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.training.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kintsugi.core.run import Run
    from kintsugi.data.imageset import ImageSet
    from kintsugi.training.settings import Training
    from kintsugi.training.stepper import Stepper

POINTS = ("on_start", "on_step", "on_epoch", "on_end")


class Loop(Protocol):
    """What a hook sees of the running training.

    Attributes:
        model: the model trained, in training mode, with its raw weights; see ``averaged``.
        objective: what is minimised.
        data: the training data.
        optimizer: the wrapper that steps.
        how: the settings.
        run: where metrics go.
        step: steps done.
        total: steps planned.
        epoch: number of the epoch, from 0.
        latest: the last value logged under each name.
        stop: set it to True to end after this step.
    """

    model: nn.Module
    objective: nn.Module
    data: ImageSet
    optimizer: Stepper
    how: Training
    run: Run
    step: int
    total: int
    epoch: int
    latest: dict[str, Any]
    stop: bool

    def log(self, **values: Any) -> None:
        """Write a line of metrics at this step."""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model as it would be returned now: with averaged weights where there are any, in evaluation mode."""


class Hook:
    """A base with all four points empty and no memory; any object with some of these methods will do.

    ``state`` and ``load`` are for hooks with a memory: tensors that go into every checkpoint.
    """

    def on_start(self, loop: Loop) -> None:
        """Before the first step, also of a resumed run."""

    def on_epoch(self, loop: Loop) -> None:
        """After the last step of an epoch."""

    def on_end(self, loop: Loop) -> None:
        """After training, when the model has its final weights, in evaluation mode."""

    def state(self) -> dict[str, Tensor]:
        """What to remember over an interruption."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Remember."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside this block; every module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class Validate(Hook):
    """Logs loss and accuracy on held-out data: ``valid_loss``, ``valid_accuracy``, and with groups ``valid_worst``.

    ``valid_worst`` is the accuracy of the worst group (column ``group``; samples of unknown group are left out of it).

    Args:
        data: the held-out samples, all labelled.
        every: epochs between validations; the end of training is always validated.
    """

    def __init__(self, data: ImageSet, every: int = 1) -> None:
        require(every >= 1, "every", every, "a whole number from 1")
        if not len(data) or (data.labels < 0).any():
            raise BadData("The validation data is empty or has samples without a label.", "Leave these out.")
        self.data, self.every = data, every
        self._feed: Feed | None = None
        self._done = -1

    def on_start(self, loop: Loop) -> None:
        """Find the images."""
        how = loop.how
        device = loop.optimizer.processes.device
        self._feed = Feed(self.data, size=how.size, fit=how.fit, model=loop.model, workers=how.workers, device=device)

    def on_epoch(self, loop: Loop) -> None:
        """Validate, if it is time."""
        if (loop.epoch + 1) % self.every == 0:
            with loop.averaged():
                self._measure(loop)

    def on_end(self, loop: Loop) -> None:
        """Validate, unless that was just done."""
        if self._done != loop.step:
            self._measure(loop)

    def state(self) -> dict[str, Tensor]:
        """The step validated last."""
        return {"done": torch.tensor(self._done)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Remember it."""
        self._done = int(state["done"])

    def _measure(self, loop: Loop) -> None:
        assert self._feed is not None
        losses, hits, groups = [], [], []
        with evaluating(loop.model):
            for batch in self._feed.walk(max(64, loop.how.batch_size)):
                logits = loop.model(batch.image)
                losses.append(functional.cross_entropy(logits.float(), batch.label, reduction="none"))
                hits.append(logits.argmax(dim=1) == batch.label)
                if batch.group is not None:
                    groups.append(batch.group)
        if not hits:
            raise BadData("No image of the validation data could be read.", "See its problems.")
        hit = torch.cat(hits).double()
        values = {"valid_loss": float(torch.cat(losses).mean()), "valid_accuracy": float(hit.mean())}
        if groups:
            index = torch.cat(groups).cpu().numpy()
            right = hit.cpu().numpy()
            shares = [float(right[index == number].mean()) for number in np.unique(index[index >= 0])]
            if shares:
                values["valid_worst"] = min(shares)
        loop.log(**values)
        self._done = loop.step


class EarlyStop(Hook):
    """Stops when a metric logged by an earlier hook has not improved for some epochs, and returns to the best weights.

    Args:
        metric: name in the metrics, such as ``valid_worst``.
        patience: epochs without improvement before stopping.
        mode: whether the ``max`` or the ``min`` is best.
    """

    def __init__(self, metric: str = "valid_accuracy", patience: int = 5, mode: str = "max") -> None:
        require(patience >= 1, "patience", patience, "a whole number from 1")
        one_of("mode", mode, ("max", "min"))
        self.metric, self.patience, self.mode = metric, patience, mode
        self._best = -np.inf
        self._waited = 0
        self._weights: dict[str, Tensor] = {}

    def on_epoch(self, loop: Loop) -> None:
        """Compare with the best so far."""
        if self.metric not in loop.latest:
            known = ", ".join(sorted(loop.latest)) or "nothing yet"
            raise BadArgument.of("metric", self.metric, f"a metric that an earlier hook logs each epoch ({known})")
        value = float(loop.latest[self.metric]) * (1.0 if self.mode == "max" else -1.0)
        if value > self._best:
            self._best, self._waited = value, 0
            with loop.averaged():
                self._weights = {name: tensor.clone() for name, tensor in loop.model.state_dict().items()}
            return
        self._waited += 1
        loop.stop = loop.stop or self._waited >= self.patience

    def on_end(self, loop: Loop) -> None:
        """Put the best weights in place."""
        if self._weights:
            loop.model.load_state_dict(self._weights)
            loop.log(**{f"best_{self.metric}": self._best * (1.0 if self.mode == "max" else -1.0)})

    def state(self) -> dict[str, Tensor]:
        """Best value, epochs waited, best weights."""
        facts = {"best": torch.tensor(self._best, dtype=torch.float64), "waited": torch.tensor(self._waited)}
        return facts | {f"weights/{name}": tensor for name, tensor in self._weights.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Remember them."""
        self._best, self._waited = float(state["best"]), int(state["waited"])
        self._weights = {key.removeprefix("weights/"): t for key, t in state.items() if key.startswith("weights/")}


def points(hooks: Sequence[Any]) -> dict[str, list[Any]]:
    """The methods to call at each point.

    Raises:
        BadArgument: a hook has none of them.
    """
    for hook in hooks:
        if not any(hasattr(hook, point) for point in POINTS):
            raise BadArgument.of("hooks", hook, "objects with at least one of " + ", ".join(POINTS))
    return {point: [getattr(hook, point) for hook in hooks if hasattr(hook, point)] for point in POINTS}
