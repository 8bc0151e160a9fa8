"""What a net says of every sample after every epoch, by id: for areas under the margin, losses, and forgetting.

`LogitLog` is a hook: after each epoch it walks once over the data in evaluation mode, unmixed and unaugmented, and
keeps the logits in half precision, in memory or, one file an epoch, in a folder. `head_history` gets the same in
seconds from a small head on frozen features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.files import atomic
from kintsugi.core.progress import track
from kintsugi.core.randomness import draw_seed, torch_rng
from kintsugi.data.stream import none_read
from kintsugi.training.feed import Feed
from kintsugi.training.hooks import Hook, Loop, evaluating

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet


class LogitHistory:
    """Logits of the same samples after several epochs.

    Args:
        ids: names of the samples, in the order of the rows.
        folder: where epochs are kept as ``epoch-NNNN.npy``; None keeps them in memory.
    """

    def __init__(self, ids: Sequence[str], folder: Path | str | None = None) -> None:
        self.ids = list(ids)
        self.folder = None if folder is None else Path(folder)
        self._kept: list[NDArray[np.float16]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, logits: NDArray[Any]) -> None:
        """The next epoch's logits, ``[N, K]``; rows of samples that nobody could read are NaN."""
        if len(logits) != len(self.ids):
            raise BadData(f"There are {len(logits)} rows of logits for {len(self.ids)} samples:", "give one row each.")
        top = float(np.finfo(np.float16).max)  # beyond it half precision is infinite, and margins would be NaN
        half = np.clip(logits, -top, top).astype(np.float16)
        if self.folder is None:
            self._kept.append(half)
        else:
            with atomic(self.folder / f"epoch-{self._count:04d}.npy") as file:
                np.save(file, half)
        self._count += 1

    def logits(self, epoch: int = -1) -> NDArray[np.float32]:
        """Logits after an epoch (-1: the last), float32 ``[N, K]``."""
        require(-self._count <= epoch < self._count, "epoch", epoch, f"one of {self._count} epochs")
        number = epoch % self._count
        if self.folder is None:
            return self._kept[number].astype(np.float32)
        return np.asarray(np.load(self.folder / f"epoch-{number:04d}.npy"), dtype=np.float32)

    def losses(self, label: NDArray[np.int64], epoch: int = -1) -> NDArray[np.float32]:
        """Cross-entropy of each sample's label after an epoch, float32 ``[N]``."""
        from scipy.special import logsumexp

        logits = self.logits(epoch)
        own = logits[np.arange(len(label)), label]
        return np.asarray(logsumexp(logits, axis=1) - own, dtype=np.float32)

    def area_under_margin(self, label: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean over epochs of the label's logit less the highest other, ``[N]`` (Pleiss et al., 2020, equation 1)."""
        require(self._count > 0, "history", self._count, "one epoch or more")
        total = np.zeros(len(label))
        for epoch in range(self._count):
            total += margins(self.logits(epoch), label)
        return total / self._count

    def restore(self, count: int, kept: Sequence[NDArray[np.float16]] = ()) -> None:
        """Go on after ``count`` epochs; later files are of a run that was cut off, and are overwritten."""
        if self.folder is not None:
            have = {int(m[1]) for p in self.folder.glob("epoch-*.npy") if (m := re.fullmatch(r"epoch-(\d+)", p.stem))}
            if missing := sorted(set(range(count)) - have):
                raise BadData(f"{self.folder} lacks epoch {missing[0]} of {count}.", "Train anew, or find the file.")
        self._kept, self._count = list(kept), count


def margins(logits: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float32]:
    """The label's logit less the highest other, ``[N]``."""
    each, other = np.arange(len(label)), logits.copy()
    other[each, label] = -np.inf
    return np.asarray(logits[each, label] - other.max(axis=1), dtype=np.float32)


class LogitLog(Hook):
    """Keeps every sample's logits after each epoch in ``history``; resumes with the training.

    Args:
        data: the samples to watch, usually the training data.
        folder: where to keep them; None keeps them in memory.
        memory: MiB that may be kept in memory; more is refused before training.
    """

    def __init__(self, data: ImageSet, folder: Path | str | None = None, memory: int = 1024) -> None:
        require(memory >= 1, "memory", memory, "1 MiB or more")
        if not len(data):
            raise BadData("There is no sample to log.", "Give the training data.")
        self.data, self.memory = data, memory
        self.history = LogitHistory(data.ids, folder)
        self._feed: Feed | None = None

    def on_start(self, loop: Loop) -> None:
        """Find the images, and see that the log will fit."""
        how = loop.how
        steps = max(1, -(-len(loop.data) // how.batch_size))
        size = len(self.data) * len(self.data.classes) * 2 * -(-how.total(steps) // steps) / 2**20
        if self.history.folder is None and size > self.memory:
            raise BadArgument(
                f"The logits of {len(self.data)} samples over all epochs take {size:.0f} MiB, more than {self.memory}:",
                "give LogitLog a folder, or more memory.",
            )
        device = loop.optimizer.processes.device
        self._feed = Feed(self.data, size=how.size, fit=how.fit, model=loop.model, workers=how.workers, device=device)

    def on_epoch(self, loop: Loop) -> None:
        """Walk over the samples with the weights of this moment."""
        assert self._feed is not None
        made: NDArray[np.float32] | None = None
        with evaluating(loop.model):
            for batch in self._feed.walk(max(64, loop.how.batch_size)):
                logits = loop.model(batch.image).float().cpu().numpy()
                if made is None:
                    made = np.full((len(self.data), logits.shape[1]), np.nan, dtype=np.float32)
                made[batch.index.cpu().numpy()] = logits
        if made is None:
            raise none_read(self.data)
        self.history.add(made)

    def state(self) -> dict[str, Tensor]:
        """How many epochs there are, and the logits where they are not in a folder."""
        kept = {f"epoch/{n:04d}": torch.from_numpy(array) for n, array in enumerate(self.history._kept)}  # noqa: SLF001
        return {"count": torch.tensor(len(self.history)), **kept}

    def load(self, state: dict[str, Tensor]) -> None:
        """Remember them."""
        kept = [state[key].numpy() for key in sorted(state) if key.startswith("epoch/")]
        self.history.restore(int(state["count"]), kept)


def head_history(
    features: NDArray[Any], label: NDArray[np.int64], ids: Sequence[str], classes: int, **how: Any
) -> LogitHistory:
    """The history of a head on frozen features; see :func:`head_epochs`, which takes ``how``."""
    history = LogitHistory(ids)
    for logits in head_epochs(features, label, classes, **how):
        history.add(logits)
    return history


def head_epochs(
    features: NDArray[Any],
    label: NDArray[np.int64],
    classes: int,
    *,
    epochs: int = 20,
    lr: float = 0.1,
    batch_size: int = 64,
    hidden: int = 0,
    decay: float = 0.0,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float32]]:
    """Logits ``[N, K]`` after each epoch of a head trained on standardised features by SGD with momentum 0.9.

    Args:
        features: float ``[N, D]``, finite.
        label: int ``[N]`` in 0..K-1.
        classes: K.
        epochs: 1 or more.
        lr: step size, above 0.
        batch_size: 1 or more.
        hidden: width of a hidden layer; 0 for a linear head.
        decay: L2 penalty on weights and biases, 0 or more, times lr below 1.
        rng: first weights and order.
    """
    require(epochs >= 1, "epochs", epochs, "1 or more")
    require(lr > 0, "lr", lr, "a number above 0")
    require(batch_size >= 1, "batch_size", batch_size, "1 or more")
    require(hidden >= 0, "hidden", hidden, "0 or more")
    require(0 <= decay * lr < 1, "decay", decay, "0 or more, and times lr below 1: else the weights run away")
    point = np.asarray(features, dtype=np.float32)
    spread = point.std(axis=0)
    image = torch.from_numpy((point - point.mean(axis=0)) / np.where(spread > 0, spread, 1))
    truth, draws = torch.from_numpy(np.array(label, dtype=np.int64)), torch_rng(draw_seed(rng), "head")
    sizes = (image.shape[1], *([hidden] if hidden else []), classes)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, wide, narrow)  # its own first weights come from torch's global state
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=draws) / max(wide, 1) ** 0.5)
            layer.bias.zero_()
        layers += [*([nn.ReLU()] if layers else []), layer]
    head = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(head.parameters(), lr, momentum=0.9, weight_decay=decay)
    for _ in track(range(epochs), "head"):
        for rows in torch.randperm(len(truth), generator=draws).split(batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(head(image[rows]), truth[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            made = torch.cat([head(part) for part in image.split(8192)]).numpy()
        yield made
