"""Garments on a canvas, a part of them with a small sign: what must not be there, and what is learned of it.

The sign is a ring with a cross in it on a dark plate, 9 pixels wide, of varying brightness, thickness and place, over
the garment or beside it. Detectors learn from labelled crops: a template that is slid over the canvas in steps of two,
and a small convolutional net that looks at every place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.models.seeded import seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

FASHION, SIDE, SIGN, CROP = "fashion_mnist_full_60k_10k.npz", 36, 9, 13
_RADIUS = np.hypot(*(np.mgrid[:SIGN, :SIGN] - (SIGN - 1) / 2))
NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class Garments:
    """A cut of the data.

    Attributes:
        data: the canvases.
        marked: which have the sign, bool ``[N]``.
        corner: its upper left corner, int ``[N, 2]``.
    """

    data: ImageSet
    marked: NDArray[np.bool_]
    corner: NDArray[np.int64]


def garments(seed: int, part: str, start: int, count: int, share: float) -> Garments:
    """``count`` canvases of Fashion-MNIST's ``train`` or ``test`` from a place in the seed's order on, some marked."""
    with np.load(given_file(FASHION)) as held:
        order = numpy_rng(seed, part).permutation(len(held[f"y_{part}"]))[start : start + count]
        image, label = held[f"x_{part}"][order], held[f"y_{part}"][order].astype(np.int64)
    rng = numpy_rng(seed, "signs", part, start)
    canvas = np.zeros((count, SIDE, SIDE), dtype=np.uint8)
    canvas[:, 4:32, 4:32] = image
    marked = rng.random(count) < share
    corner = rng.integers(0, SIDE - SIGN + 1, size=(count, 2))
    for row in np.flatnonzero(marked):
        top, left = corner[row]
        place = canvas[row, top : top + SIGN, left : left + SIGN]
        ink = sign(rng)
        dark = place * np.where(_RADIUS < 4.6, rng.uniform(0.1, 0.3), 1.0)  # a plate below it, so that it can be seen
        place[:] = np.maximum(dark * (1 - ink), ink * rng.uniform(150, 255)).astype(np.uint8)
    ids = [f"{part} {start + k}" for k in range(count)]
    return Garments(ImageSet.from_arrays(canvas, label, NAMES, id=ids), marked, corner)


def sign(rng: np.random.Generator) -> NDArray[np.float64]:
    """How much ink, 0..1, ``[SIGN, SIGN]``."""
    y, x = np.mgrid[:SIGN, :SIGN] - (SIGN - 1) / 2
    thick = rng.uniform(0.7, 1.2)
    away = np.abs(np.hypot(y, x) - rng.uniform(3.2, 3.9))
    cross = np.where(np.hypot(y, x) < 3.5, np.minimum(np.abs(y), np.abs(x)), 9.0)
    return np.clip(thick + 0.3 - np.minimum(away, cross), 0, 1)


def crops(some: Garments, rows: NDArray[np.int64], corner: NDArray[np.int64]) -> torch.Tensor:
    """Labelled crops ``[n, 1, CROP, CROP]`` in 0..1 around places; the canvas is black outside."""
    pad = CROP
    edge = (CROP - SIGN) // 2
    canvas: Any = some.data.source
    image = np.pad(canvas.image[..., 0], ((0, 0), (pad, pad), (pad, pad)))
    cut = [
        image[row, top + pad - edge : top + pad - edge + CROP, left + pad - edge : left + pad - edge + CROP]
        for row, (top, left) in zip(rows, corner, strict=True)
    ]
    return torch.from_numpy(np.stack(cut)[:, None]).float() / 255


class Template:
    """Slides the mean sign over the canvas in steps of two: the correlation, 0..1, at its best place."""

    name, cost = "template", 1.0

    def __init__(self, positive: torch.Tensor) -> None:
        edge = (CROP - SIGN) // 2
        mean = positive.mean(0, keepdim=True)[..., edge : edge + SIGN, edge : edge + SIGN]
        self.kernel = functional.normalize((mean - mean.mean()).flatten(), dim=0).reshape(mean.shape)

    def map(self, image: torch.Tensor, stride: int = 2) -> torch.Tensor:
        """Correlation with what lies under the template, at each place."""
        grey = image[:, :1]
        ones = torch.ones_like(self.kernel) / self.kernel.numel()
        mean, square = (functional.conv2d(x, ones, stride=stride) for x in (grey, grey * grey))
        spread = (square - mean * mean).clamp_min(1e-4).sqrt() * self.kernel.numel() ** 0.5
        return functional.conv2d(grey, self.kernel, stride=stride) / spread

    def score(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities ``[B]``."""
        return ((self.map(image).amax((1, 2, 3)) + 1) / 2).clamp(0, 1)


class PatchNet(nn.Module):
    """A small net on every patch of 11 pixels; the surest patch is the image's probability."""

    name, cost = "patch net", 30.0

    def __init__(self, seed: int) -> None:
        super().__init__()
        with seeded(torch_rng(seed, "patch net")):
            self.net = nn.Sequential(
                nn.Conv2d(1, 16, 5), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 1, 5)
            )

    def learn(self, crop: torch.Tensor, present: torch.Tensor, rng: torch.Generator, steps: int = 400) -> None:
        """Train on labelled crops, moved by a pixel and of other brightness."""
        optimizer = torch.optim.Adam(self.parameters(), 2e-3, weight_decay=1e-4)
        for _ in range(steps):
            rows = torch.randint(len(crop), (64,), generator=rng)
            top, left = torch.randint(3, (2,), generator=rng).tolist()
            image = crop[rows, :, top : top + 11, left : left + 11]
            bright = 0.7 + 0.6 * torch.rand((64, 1, 1, 1), generator=rng)
            loss = functional.binary_cross_entropy_with_logits(
                self.net((image * bright).clamp(0, 1)).flatten(), present[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def map(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of every patch, the canvas widened by a black pixel."""
        return self.net(functional.pad(image[:, :1], (1, 1, 1, 1)))

    def score(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities ``[B]``."""
        return self.map(image).amax((1, 2, 3)).sigmoid()


def detectors(seed: int, labelled: int = 300) -> tuple[Template, PatchNet, tuple[float, float]]:
    """Both detectors from labelled crops, half with the sign, and their thresholds.

    A third of the negatives lie at random places, the others, in two rounds, where a net was most mistaken: they cost
    a label each. A third of the positives is not trained on: the net's threshold is the lowest of their probabilities.
    The template's lies above all negatives.
    """
    pool = garments(seed, "train", 20000, 6 * labelled, 0.5)
    rng, half, third = numpy_rng(seed, "crops"), labelled // 2, labelled // 6
    yes, no = np.flatnonzero(pool.marked)[:half], np.flatnonzero(~pool.marked)
    positive = crops(pool, yes, pool.corner[yes])
    negative = crops(pool, no[:third], rng.integers(4, SIDE - SIGN - 3, size=(third, 2)))
    for turn in (1, 2):
        part = no[turn * third + third * 4 * (turn - 1) :][: 4 * third]
        net = _learned(seed, positive[third:], negative, turn)
        negative = torch.cat([negative, _mistaken(net, pool, part, third)])
    net, template = _learned(seed, positive[third:], negative, 3), Template(positive)
    with torch.no_grad():
        high = float(((template.map(negative, 1).amax() + 1) / 2).clamp(0, 1))
        low = float(net.score(positive[:third]).min())
    return template, net, (min(1.0, high + 0.02), low)


def _learned(seed: int, positive: torch.Tensor, negative: torch.Tensor, turn: int) -> PatchNet:
    net = PatchNet(seed)
    label = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])
    net.learn(torch.cat([positive, negative]), label, torch_rng(seed, "turn", turn))
    return net.eval()


def _mistaken(net: PatchNet, pool: Garments, rows: NDArray[np.int64], count: int) -> torch.Tensor:
    """Crops of clean canvases where the net is surest of a sign."""
    canvas: Any = pool.data.source
    with torch.no_grad():
        logits = net.map(torch.from_numpy(canvas.image[rows].transpose(0, 3, 1, 2)).float() / 255)
    best, place = (each.numpy() for each in logits.flatten(1).max(1))
    worst = np.argsort(-best, kind="stable")[:count]
    # A patch of 11 whose corner is (y - 1, x - 1) on the canvas holds a sign that begins a pixel further in.
    corner = np.stack(np.divmod(place[worst], logits.shape[-1]), axis=1)
    return crops(pool, rows[worst], corner)
