"""An encoder trained on the audited images themselves, without their labels, in minutes on a laptop.

Audits that ask what lies near what (SelfClean: Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits",
NeurIPS 2024, arXiv 2305.17048) want an encoder that knows these images. Theirs is a vision transformer, trained with
DINO from weights of ImageNet; here a small convolutional net learns from nothing by
:class:`~kintsugi.training.objective.simclr.SimCLR`. DINO was not tried at this size.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from kintsugi.core.errors import BadData, require
from kintsugi.core.files import read_json, write_json
from kintsugi.core.progress import say, task
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage, shape_of
from kintsugi.data.stream import none_read
from kintsugi.models.encoder import TowerEncoder
from kintsugi.models.preprocess import Preprocess
from kintsugi.models.seeded import seeded
from kintsugi.training.fit import fit
from kintsugi.training.objective.simclr import SimCLR
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from torch import Tensor

MOST = 20_000  # images that are learned from; a random part of larger sets
BATCH = 256
EPOCHS = (
    60,
    40,
    30,
    20,
    15,
    10,
    7,
    5,
    3,
    2,
    1,
)  # coarse, so that small differences in speed change nothing
SECONDS, LEAST = 300.0, 30.0  # that 10,000 images may take, and that any number may
SPARE = 0.2  # share of it that is not planned for: other work comes and goes, checkpoints are written
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def train_encoder(
    data: ImageSet,
    *,
    size: int | None = None,
    epochs: int | None = None,
    rng: int = 0,
    run: Run | None = None,
    device: str = "auto",
) -> TowerEncoder:
    """Train an encoder on these images; labels are not looked at.

    Unless ``epochs`` says how long, all of it, decoding included, takes at most five minutes for 10,000 images (in
    proportion for fewer or more, never under half a minute): a few steps are timed on this machine, and as many epochs
    are chosen as fit into four fifths of the time, at most 60, or so many steps where not even one does. Training that
    comes to its time nevertheless, because the machine was given other work, stops there. What was chosen is said
    before it starts and kept in the run, so that interrupted work goes on as it began. A run that has an encoder of the
    same images, size and seed gives it back at once.

    Args:
        data: the images, grey or coloured, of any sizes; they are squashed to squares of ``size``.
        size: side in pixels; None takes 32 for small images, 64 or 96 for larger ones, by their median.
        epochs: passes over the images; None chooses by the clock. Give it where results must not depend on speed.
        rng: seed of weights, order and views.
        run: folder that keeps encoders, each in a folder of its own; None keeps nothing.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The encoder in evaluation mode: vectors of 256 numbers.

    Raises:
        BadData: there are fewer than two images that can be read.
        BudgetSpent: the time given to the work is spent; a run goes on from where it was.
    """
    started = time.monotonic()
    require(size is None or size >= 16, "size", size, "16 pixels or more, or None")
    require(epochs is None or epochs >= 1, "epochs", epochs, "1 or more, or None")
    run = Run(None) if run is None else run
    if len(data) < 2:
        raise BadData(f"There are {len(data)} images:", "an encoder learns to tell images apart, so give two or more.")
    side = _side(data) if size is None else size
    name = _name(data, side, epochs, rng)
    place = run.sub(name)
    net = Tower(side, rng=rng)
    if place.stored and place.path("weights.safetensors").exists():
        net.load_state_dict(place.load_weights())
    else:
        small = _small(data, side, rng)
        limit = max(LEAST, SECONDS * len(small) / 10_000)
        plan = _planned(net, small, epochs, place, device, time.monotonic() - started)
        length = f"{plan['epochs']} epochs" if plan["epochs"] else f"{plan['steps']} steps"
        most = "" if epochs is not None else f", at most {limit / 60:.1f}"
        title = f"encoder of {len(small)} images: {length}, about {plan['minutes']:.1f} minutes{most}"
        how = Training(
            epochs=plan["epochs"],
            steps=plan["steps"],
            batch_size=min(BATCH, len(small)),
            lr=2e-3,
            weight_decay=1e-4,
            warmup=10,
            checkpoint_every=100,
            device=device,
        )
        say(f"Training an {title}.")
        end = _End(math.inf if epochs is not None else started + limit)
        with task(title, 1) as tracker:
            fit(net, small, SimCLR(), how=how, hooks=[end], rng=rng, run=place)
            tracker.advance()
    encoder = TowerEncoder(net.body, Preprocess(MEAN, STD, (side, side), crop="squash"), f"simclr:{name[8:16]}")
    return encoder.to(next(net.parameters()).device).eval()


class Tower(nn.Module):
    """Convolutions with batch normalisation, pooled to a vector, and the projection that is thrown away.

    Args:
        size: side of the images; the first layers shrink larger ones more.
        width: maps of the first stage; vectors have four times as many numbers.
        rng: seed of the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, width: int = 64, *, rng: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", _channels(MEAN), persistent=False)
        self.register_buffer("std", _channels(STD), persistent=False)
        halvings = 1 if size <= 48 else 2
        stem = [3] + [width // 2] * halvings
        stages = [(width // 2, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        with seeded(torch_rng(rng, "weights")):
            layers = [_block(a, b, 4, 2) for a, b in pairwise(stem)]
            layers += [_block(a, b, 3, stride) for a, b, stride in stages]
            self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Sequential(
                nn.Linear(4 * width, 4 * width), nn.BatchNorm1d(4 * width), nn.ReLU(), nn.Linear(4 * width, width)
            )

    def forward(self, image: Tensor) -> Tensor:
        """Images ``[B, 3, S, S]`` in 0..1 to projections ``[B, width]``."""
        return self.head(self.body((image - self.mean) / self.std))


def _block(inner: int, outer: int, kernel: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(inner, outer, kernel, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU())


def _channels(values: tuple[float, ...]) -> Tensor:
    import torch

    return torch.tensor(values).view(1, -1, 1, 1)


def _side(data: ImageSet) -> int:
    """32, 64 or 96, by the median short side of a few images."""
    shapes = []
    for row in np.linspace(0, len(data) - 1, min(len(data), 100)).astype(int):
        try:
            shapes.append(min(shape_of(data.source, int(data.rows[row]))))
        except BadImage:
            continue
    if not shapes:
        raise none_read(data)
    short = float(np.median(shapes))
    return 32 if short <= 48 else 64 if short <= 96 else 96


def _name(data: ImageSet, side: int, epochs: int | None, rng: int) -> str:
    text = json.dumps([data.fingerprint, side, epochs, rng])
    return f"encoder-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _small(data: ImageSet, side: int, rng: int) -> ImageSet:
    """The images to learn from, decoded once and kept small."""
    chosen = data
    if len(data) > MOST:
        chosen = data.select(np.sort(numpy_rng(rng, "part").permutation(len(data))[:MOST]))
    kept: list[Any] = []
    with task("decode for the encoder", len(chosen)) as tracker:
        for rows, image in chosen.stream(64, size=(side, side), fit="squash"):
            kept.append(image)
            tracker.advance(len(rows))
    if sum(map(len, kept)) < 2:
        raise none_read(data)
    pixels = np.concatenate(kept)
    return ImageSet.from_arrays(pixels, np.zeros(len(pixels), dtype=np.int64), ["image"])


def _planned(
    net: Tower, small: ImageSet, epochs: int | None, place: Run, device: str, spent: float = 0.0
) -> dict[str, Any]:
    """Epochs, or steps, and the estimated minutes: what the run began with, or what the clock says now."""
    if place.stored and place.path("plan.json").exists():
        found: dict[str, Any] = {"steps": None, **read_json(place.path("plan.json"))}
        return found
    batch = min(BATCH, len(small))
    started = time.monotonic()
    took = _seconds_a_step(net, small, batch, device)
    each = -(-len(small) // batch)  # steps an epoch
    steps = None
    if epochs is None:
        left = (1 - SPARE) * max(LEAST, SECONDS * len(small) / 10_000) - spent - (time.monotonic() - started)
        epochs = next((number for number in EPOCHS if number * each * took <= left), None)
        if epochs is None:
            steps = 2 ** int(np.log2(max(1.0, left / took)))  # coarse too
    plan = {"epochs": epochs, "steps": steps, "minutes": (steps or (epochs or 0) * each) * took / 60}
    if place.stored:
        write_json(place.path("plan.json"), plan)
    return plan


def _seconds_a_step(net: Tower, small: ImageSet, batch: int, device: str) -> float:
    """Median of a few steps on a copy that is thrown away, the first of which only warms up."""
    part = small.select(np.arange(batch))
    clock = _Clock()
    how = Training(steps=4, batch_size=batch, device=device, log_every=1)
    fit(copy.deepcopy(net), part, SimCLR(), how=how, hooks=[clock], rng=0)
    return float(np.median(np.diff(clock.times)))


class _Clock:
    """Looks at the clock after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step(self, loop: Any) -> None:
        """One more."""
        self.times.append(time.perf_counter())


class _End:
    """Ends training when its time is up."""

    def __init__(self, at: float) -> None:
        self._at = at  # private: it is no part of what the run is known by

    def on_step(self, loop: Any) -> None:
        """Look at the clock; the weights of this step are the encoder's then."""
        if time.monotonic() > self._at and not loop.stop and loop.step < loop.total:
            loop.stop = True
            say(f"The encoder's time is up after {loop.step} of {loop.total} steps.")
