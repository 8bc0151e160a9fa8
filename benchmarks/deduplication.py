"""De-duplicating a million embeddings: time, memory, and recall against exact search.

    KINTSUGI_DATA=... python benchmarks/deduplication.py [--rows 1000000] [--similarity 0.98] [--threads 2] [--json]

The embeddings are real: crops of photographs, CIFAR-10, Tiny-ImageNet, Fashion-MNIST and MNIST, each at a place and a
size of its own, are resized to 64 pixels and passed through MobileNetV2 up to a layer of 384 channels, whose 4 x 4
places, less their mean, are 16 embeddings. They are made once and kept in ``--folder``. The work runs in a fresh
process, whose largest resident memory is what the system says (mapped files that were read count too). Recall is
measured apart from it: 10,000 rows drawn by another seed and the k nearest rows of each, of all and by matrix products,
as far as their cosine reaches the threshold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kintsugi.data.given import given_file

SIDE, WIDE, PLACES, BATCH = 64, 384, 16, 100
QUERIES = 10_000


def sources() -> list[tuple[int, list[Image.Image] | np.ndarray, tuple[float, float]]]:
    """(share of a million, images, smallest and largest side of a crop relative to the image's)."""
    with np.load(given_file("fashion_mnist_full_60k_10k.npz")) as held:
        fashion = np.concatenate([held["x_train"], held["x_test"]])
    with np.load(given_file("mnist_20k_train_5k_test.npz")) as held:
        digits = np.concatenate([held["x_train"], held["x_test"]])
    with np.load(given_file("cifar10_10k_train_2k_test_with_cifar10n.npz")) as held:
        cifar = np.concatenate([held["x_train"], held["x_test"]])
    return [
        (350_000, photos("imagenet_photos_500_short256.zip", 500), (0.15, 0.9)),
        (150_000, photos("tiny_imagenet_val_2000.zip", 2000), (0.4, 1.0)),
        (180_000, cifar, (0.6, 1.0)),
        (240_000, fashion, (0.7, 1.0)),
        (80_000, digits, (0.7, 1.0)),
    ]


def photos(name: str, count: int) -> list[Image.Image]:
    with zipfile.ZipFile(given_file(name)) as held:
        names = sorted(n for n in held.namelist() if n.lower().endswith((".jpg", ".jpeg")))[:count]
        return [Image.open(held.open(n)).convert("RGB") for n in names]


def crops(rows: int) -> Iterator[np.ndarray]:
    """uint8 ``[<=100, 64, 64, 3]``, one crop for 16 of ``rows``."""
    rng, waiting = np.random.default_rng(0), []
    for share, images, (low, high) in sources():
        for number in range(round(share * rows / PLACES / 1_000_000)):
            image = images[number % len(images)]
            image = image if isinstance(image, Image.Image) else Image.fromarray(image)
            side = rng.uniform(low, high) * min(image.size)
            left, top = (rng.uniform(0, length - side) for length in image.size)
            small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
            waiting.append(np.asarray(small.convert("RGB")))
            if len(waiting) == BATCH:
                yield np.stack(waiting)
                waiting = []
    if waiting:
        yield np.stack(waiting)


def encoder() -> torch.nn.Module:
    """MobileNetV2 to the 384 channels inside its eleventh block."""
    from kintsugi.models.open import open_model

    net = open_model(
        "torchvision:mobilenet_v2", weights=given_file("imagenet_mobilenet_v2_torchvision_tfpad_weights.npz")
    )
    inner = next(m for m in net.modules() if type(m).__name__ == "MobileNetV2").features
    return torch.nn.Sequential(*inner[:11], inner[11].conv[0]).eval()


def make(path: Path, rows: int) -> None:
    """Embed ``rows`` crops into a .npy file, once."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    net, top, started = encoder(), 0, time.monotonic()
    part = path.with_suffix(".part")
    made = np.lib.format.open_memmap(part, "w+", np.float32, (rows, WIDE))
    with torch.inference_mode():
        for block in crops(rows):
            image = torch.from_numpy(block).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
            found = net(image.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1).reshape(-1, WIDE)
            made[top : top + len(found)] = found.numpy()
            top += len(found)
            if top % 80_000 == 0:
                print(f"embedded {top} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    assert top == rows, (top, rows)
    centre = made[:: max(1, rows // 50_000)].mean(axis=0)
    for top in range(0, rows, 50_000):
        made[top : top + 50_000] -= centre
    made.flush()
    part.rename(path)


def work(path: Path, out: Path, similarity: float, threads: int, options: dict) -> None:
    """What the fresh process does."""
    import resource

    from kintsugi.audit.duplicates.at_scale import deduplicate

    torch.set_num_threads(threads)
    started, used = time.monotonic(), time.process_time()
    found = deduplicate(path, similarity, **options)
    spent = {"seconds": time.monotonic() - started, "processor_seconds": time.process_time() - used}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    np.savez(out, pairs=found.pairs, label=found.label)
    facts = {**spent, "peak_gib": peak, "own_recall": found.recall, "kept": len(found.keep), **found.facts}
    print(json.dumps(facts))


def measure(path: Path, out: Path, similarity: float, options: dict, threads: int) -> dict:
    """Run in a fresh process, then compare with exact search."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    asked = json.dumps([str(path), str(out), similarity, threads, options])
    done = subprocess.run(
        [sys.executable, __file__, "--work", asked], env={**os.environ, **limits}, stdout=subprocess.PIPE, check=True
    )
    facts = json.loads(done.stdout.splitlines()[-1])
    torch.set_num_threads(threads)
    return {
        "similarity": similarity,
        "options": options,
        **facts,
        **recall(path, out, similarity, options.get("k", 50)),
    }


def recall(path: Path, out: Path, similarity: float, k: int) -> dict[str, float]:
    """Share of the true pairs that are listed: those of 10,000 rows and their k nearest at the threshold or above."""
    base = np.load(path, mmap_mode="r")
    with np.load(out) as held:
        pairs, label = held["pairs"], held["label"]
    count = len(base)
    asked = np.sort(np.random.default_rng(1).choice(count, min(QUERIES, count), replace=False))
    query = torch.nn.functional.normalize(torch.from_numpy(base[asked]), dim=1)
    best, rows = torch.full((len(asked), k), -1.0), torch.zeros((len(asked), k), dtype=torch.int64)
    for top in range(0, count, 8192):
        block = torch.nn.functional.normalize(torch.from_numpy(np.array(base[top : top + 8192])), dim=1)
        cosine = query @ block.T
        own = np.flatnonzero((asked >= top) & (asked < top + len(block)))
        cosine[own, asked[own] - top] = -1.0
        touched = torch.from_numpy(np.flatnonzero(((cosine > best[:, -1:]) & (cosine >= similarity)).any(1).numpy()))
        near, place = cosine[touched].topk(min(k, len(block)), dim=1)
        best[touched], order = torch.cat([best[touched], near], 1).topk(k, dim=1)
        rows[touched] = torch.cat([rows[touched], place + top], 1).gather(1, order)
    left, rank = (each.numpy() for each in (best >= similarity).nonzero(as_tuple=True))
    a, b = asked[left], rows.numpy()[left, rank]
    hit = np.isin(np.minimum(a, b) * count + np.maximum(a, b), pairs[:, 0] * count + pairs[:, 1])
    return {
        "queries": len(asked),
        "queries_with_pairs": len(np.unique(a)),
        "true_pairs": len(a),
        "pair_recall": float(hit.mean()),
        "recall_by_query": float(np.mean([hit[a == one].mean() for one in np.unique(a)])),
        "same_group": float((label[a] == label[b]).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--similarity", type=float, default=0.98)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "kintsugi-embeddings")
    parser.add_argument("--options", type=json.loads, default={}, help="arguments of deduplicate, as JSON")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        path, out, *rest = args.work
        work(Path(path), Path(out), *rest)
        return
    path = args.folder / f"crops-{args.rows}.npy"
    make(path, args.rows)
    facts = measure(path, args.folder / "found.npz", args.similarity, args.options, args.threads)
    print(json.dumps(facts) if args.json else "\n".join(f"{name:22}{value}" for name, value in facts.items()))


if __name__ == "__main__":
    main()
