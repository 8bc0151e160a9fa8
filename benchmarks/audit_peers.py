"""All checks of an audit of 10,000 images beside CleanVision and cleanlab's Datalab, in one run: which is sooner done?

    KINTSUGI_DATA=... python benchmarks/audit_peers.py --peers .venv-peers/bin/python [--rounds 3] [--json]

Both sides read the same PNG files from disk (CIFAR-10 in class folders, human labels) and are given the same features
and probabilities (of a ResNet-20). Theirs: all of CleanVision's default issue types on the folder and all of Datalab's
defaults with labels, features and probabilities. Ours twice, from the same rounds: every check that `kintsugi audit`
runs, and the questions that the peers ask too (files and pixels, copies by pixels and features, outliers, label errors
by confident learning, imbalance and weak groups). The peers live in an environment of their own (`make peers`) and in a
process that has imported all it needs before the clock starts, as has ours; rounds alternate, medians count. Seconds
are those on the wall, and those of all processors (child processes and threads too), which other work on the machine
disturbs less. Of our checks two run at a time: the seconds of single ones overlap, on the wall and of processors, and
only those of the whole count.

Embedding is a row of its own: images a second of `embed` from the files, and its share of the rate of the bare forward
pass over images that are decoded already.

Wanted: at least 6 times as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WHOLE, ALIKE = "a whole audit", "the peers' questions"
FILE = "cifar10_10k_train_2k_test_with_cifar10n.npz"
WEIGHTS = "cifar10_resnet20_akamaster_state_dict.pth"


def processors() -> float:
    """Seconds of all processors that this process and its finished children have used."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@contextlib.contextmanager
def timed(into: dict[str, list[tuple[float, float]]], name: str):
    wall, cpu = time.perf_counter(), processors()
    yield
    into.setdefault(name, []).append((time.perf_counter() - wall, processors() - cpu))


# ----------------------------------------------------------------------------------------------------- theirs


def serve(folder: str) -> None:
    """The peers' process: a line on the input is a round, its seconds by part are the answer."""
    from cleanlab import Datalab
    from cleanvision import Imagelab

    root = Path(folder)
    with np.load(root / "given.npz") as held:
        features, prob, label = held["features"], held["prob"], held["label"]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what they print is no answer
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        seconds: dict[str, list[tuple[float, float]]] = {}
        with timed(seconds, "CleanVision"):
            Imagelab(data_path=str(root / "images")).find_issues(verbose=False)
        with timed(seconds, "Datalab"):
            lab = Datalab(data={"label": label}, label_name="label", verbosity=0)
            lab.find_issues(features=features, pred_probs=prob)
        print(json.dumps({name: held[0] for name, held in seconds.items()}), file=answers, flush=True)


# ------------------------------------------------------------------------------------------------------- ours


def audit(folder: Path, name: str, checks: Sequence[str], seconds: dict[str, list[tuple[float, float]]]) -> None:
    """Open the folder and do the checks as `kintsugi audit` does; the seconds of single ones overlap."""
    from kintsugi.api.audit import in_turn
    from kintsugi.core.batch import Outputs
    from kintsugi.core.randomness import numpy_rng
    from kintsugi.core.registry import find
    from kintsugi.data.formats import open_data

    with timed(seconds, name):
        with timed(seconds, f"{name}: open the folder"):
            data = open_data(str(folder / "images")).remembering()
            with np.load(folder / "given.npz") as held:
                outputs = Outputs(data.ids, held["prob"], held["features"], source="ResNet-20")

        def done(check: str) -> None:
            with timed(seconds, f"{name}: {check}"):
                find(check, "auditor").load()()(data, outputs, numpy_rng(0, check))

        in_turn(checks, done, learning=False)


def resnet20(path: Path):
    """The net whose weights KINTSUGI_DATA holds (He et al. 2016, section 4.2)."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.stride, self.more = stride, (after - before) // 2

        def forward(self, x):
            short = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
            return functional.relu(short + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            before = 16
            for stage, width in enumerate((16, 32, 64), 1):
                blocks = [
                    Block(before, width, 2 if width > before else 1),
                    Block(width, width, 1),
                    Block(width, width, 1),
                ]
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
                before = width
            self.linear = nn.Linear(64, 10)

        def features(self, x):
            x = functional.relu(self.bn1(self.conv1(x)))
            return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

        def forward(self, x):
            return self.linear(self.features(x))

    net = Net()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()


class ResNetEncoder:
    """The net's features, colours normalised within."""

    name = fingerprint = "resnet20-cifar10"

    def __init__(self, net) -> None:
        import torch

        self.net = net
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def __call__(self, image):
        return self.net.features((image - self.mean) / self.std)


def written(folder: Path, count: int) -> ResNetEncoder:
    """The images as files, features and probabilities beside them in the order of the names."""
    import torch
    from PIL import Image

    root = Path(os.environ["KINTSUGI_DATA"])
    with np.load(root / FILE) as held:
        image, label = held["x_train"][:count], held["cifar10n_aggre_label"][:count].astype(np.int64)
    order = np.argsort(label, kind="stable")  # as the folders are walked through
    image, label = image[order], label[order]
    for number, (one, k) in enumerate(zip(image, label, strict=True)):
        path = folder / "images" / f"class{k}"
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(path / f"{number:06d}.png")
    encoder = ResNetEncoder(resnet20(root / WEIGHTS))
    made = []
    with torch.inference_mode():
        for top in range(0, count, 256):
            batch = torch.from_numpy(image[top : top + 256]).permute(0, 3, 1, 2).float() / 255
            made.append(encoder(batch))
        features = torch.cat(made)
        prob = encoder.net.linear(features).double().softmax(1)
    np.savez(folder / "given.npz", features=features.numpy(), prob=prob.numpy(), label=label, image=image)
    return encoder


def embedding(folder: Path, encoder: ResNetEncoder, rounds: int) -> dict[str, float]:
    """Images a second: all of `embed` from the files, and the forward pass alone."""
    import torch

    from kintsugi.data.formats import open_data
    from kintsugi.models.cache import embed

    with np.load(folder / "given.npz") as held:
        image = held["image"]
    ready = [
        torch.from_numpy(image[top : top + 64]).permute(0, 3, 1, 2).float() / 255 for top in range(0, len(image), 64)
    ]
    rates: dict[str, list[float]] = {"embed": [], "forward": []}
    for _ in range(rounds):
        start = time.perf_counter()
        with torch.inference_mode():
            for batch in ready:
                encoder(batch)
        rates["forward"].append(len(image) / (time.perf_counter() - start))
        start = time.perf_counter()
        embed(encoder, open_data(str(folder / "images")), batch_size=64)
        rates["embed"].append(len(image) / (time.perf_counter() - start))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return {**middle, "share": middle["embed"] / middle["forward"]}


def medians(seconds: dict[str, list[tuple[float, float]]]) -> dict[str, list[float]]:
    """Wall and processor seconds of each part."""
    return {
        name: [round(statistics.median(side), 2) for side in zip(*held, strict=True)] for name, held in seconds.items()
    }


def chosen_checks() -> dict[str, tuple[str, ...]]:
    """What `kintsugi audit` runs, and what the peers ask too."""
    from kintsugi.api.audit import CHECKS

    alike = (name for name in CHECKS if name not in ("conflict_duplicates", "label_errors"))
    return {WHOLE: CHECKS, ALIKE: (*alike, "confident_learning")}


def compared(folder: Path, python: str | None, rounds: int) -> dict[str, object]:
    seconds: dict[str, list[tuple[float, float]]] = {}
    for name, checks in chosen_checks().items():
        audit(folder, name, checks, {})  # imports, and the file cache
    with peers_of(folder, python) as ask:
        for _ in range(rounds):
            answer = ask()
            for name, values in answer.items():
                seconds.setdefault(name, []).append(values)
            if answer:
                seconds.setdefault("the peers", []).append(tuple(map(sum, zip(*answer.values(), strict=True))))
            for name, checks in chosen_checks().items():
                audit(folder, name, checks, seconds)
    found = medians(seconds)
    theirs = found.get("the peers")
    named = () if theirs is None else (WHOLE, ALIKE)
    return {"seconds": found, "ratio": {name: np.divide(theirs, found[name]).tolist() for name in named}}


@contextlib.contextmanager
def peers_of(folder: Path, python: str | None):
    """What asks the peers' process for a round: seconds by part, none without peers."""
    if python is None:
        yield dict
        return
    log = folder / "peers.log"  # their progress bars
    command = [python, str(Path(__file__).resolve()), "--serve", str(folder)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
        )
    assert process.stdin is not None
    assert process.stdout is not None
    said = process.stdout.readline()

    def ask() -> dict[str, tuple[float, float]]:
        if said:
            process.stdin.write("go\n")
            answer = process.stdout.readline()
        if not said or not answer:
            raise SystemExit(f"The peers failed:\n{log.read_text()[-2000:]}")
        return {name: tuple(values) for name, values in json.loads(answer).items()}

    yield ask
    process.stdin.close()
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="the Python of an environment that `make peers` made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = written(folder, chosen.images)
        result: dict[str, object] = {"images": chosen.images, "embedding": embedding(folder, encoder, chosen.rounds)}
        result |= compared(folder, chosen.peers, chosen.rounds)
    if chosen.json:
        print(json.dumps(result))
        return
    for part, (wall, cpu) in result["seconds"].items():
        print(f"{part:44} {wall:8.2f} s on the wall, {cpu:8.2f} s of processors")
    rates = result["embedding"]
    print(f"embedding: {rates['embed']:.0f} images/s, {rates['share']:.0%} of the bare pass ({rates['forward']:.0f}/s)")
    for name, (wall, cpu) in result["ratio"].items():
        print(f"ratio, {name}: {wall:.1f} on the wall, {cpu:.1f} in processor seconds (wanted: at least 6)")


if __name__ == "__main__":
    main()
