"""The training loop against a bare loop written by hand, one step of each in turn: python benchmarks/training_loop.py

Both train the same net from the same weights on the same images in memory with the same optimizer and schedule; the
bare loop does nothing else. Interleaved pairs of steps, medians. Must reach: ResNet-20 at batch 128 at most 3% over,
the small net at most 0.1 ms a step over.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kintsugi.data.imageset import ImageSet
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training


class Block(nn.Module):
    """He et al. 2016, section 4.2: two 3x3 convolutions, shortcut without parameters."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.stride, self.more = stride, after - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return functional.relu(self.second(functional.relu(self.first(x))) + short)


def resnet20() -> nn.Module:
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(a, b, 2 if b > a else 1) for a, b in itertools.pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def small() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


class Bare:
    """The loop one writes by hand, a step at a time."""

    def __init__(self, model: nn.Module, image: np.ndarray, label: np.ndarray, how: Training, device: torch.device):
        self.model = model.train()
        self.image = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).to(device)
        self.label = torch.from_numpy(label).to(device)
        fused = device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.SGD(
            model.parameters(), how.lr, how.momentum, weight_decay=how.weight_decay, fused=fused
        )
        self.how, self.done, self.order, self.at = how, 0, np.empty(0, dtype=np.int64), 0
        self.rng, self.device = np.random.default_rng(0), device

    def step(self) -> None:
        if self.at >= len(self.order):
            self.order, self.at = self.rng.permutation(len(self.label)), 0
        rows = torch.from_numpy(self.order[self.at : self.at + self.how.batch_size]).to(self.device)
        self.at += self.how.batch_size
        image = self.image.index_select(0, rows).float().div_(255)
        loss = functional.cross_entropy(self.model(image), self.label.index_select(0, rows))
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.how.lr * 0.5 * (1 + math.cos(math.pi * self.done / (self.how.steps or 1)))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1


class Pair:
    """After each step of the loop, one of the bare loop; both are timed."""

    def __init__(self, bare: Bare, clock: str) -> None:
        self.bare, self.ours, self.theirs, self.began = bare, [], [], 0.0
        self.clock = time.perf_counter if clock == "wall" else time.process_time

    def now(self) -> float:
        if self.bare.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock()

    def on_start(self, _loop) -> None:
        self.began = self.now()

    def on_step(self, _loop) -> None:
        between = self.now()
        self.bare.step()
        end = self.now()
        self.ours.append(between - self.began)
        self.theirs.append(end - between)
        self.began = self.now()


def measure(
    name: str, net: nn.Module, side: int, batch_size: int, steps: int, device: str, clock: str
) -> dict[str, object]:
    rng = np.random.default_rng(0)
    count = batch_size * 40
    image = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    label = rng.integers(0, 10, count)
    how = Training(
        steps=steps,
        batch_size=batch_size,
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        optimizer="sgd",
        precision="no",
        device=device,
    )
    bare = Bare(copy.deepcopy(net).to(device), image, label, how, torch.device(device))
    pair = Pair(bare, clock)
    fit(net, ImageSet.from_arrays(image, label), ERM(), how=how, hooks=[pair])
    ours, theirs = pair.ours[5:], pair.theirs[5:]
    over = [1e3 * (a - b) for a, b in zip(ours, theirs, strict=True)]
    return {
        "net": name,
        "batch": batch_size,
        "steps": len(ours),
        "loop_ms": round(1e3 * statistics.median(ours), 3),
        "bare_ms": round(1e3 * statistics.median(theirs), 3),
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 4),
        "over_ms": round(statistics.median(over), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60, help="of ResNet-20; the small net takes ten times as many")
    parser.add_argument("--net", choices=("resnet20", "small", "both"), default="both")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a machine others use too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    way = args.device, args.clock
    if args.net != "small":
        print(json.dumps(measure("resnet20, 32 x 32", resnet20(), 32, 128, args.steps, *way)))
    if args.net != "resnet20":
        print(json.dumps(measure("three convolutions, 24 x 24", small(), 24, 64, 10 * args.steps, *way)))


if __name__ == "__main__":
    main()
