"""The decoding stream against a plain pool of two processes that makes the same uint8 batches, side by side in one run.

    python benchmarks/decoding.py [--rounds 5] [--json]

Both read the same JPEG files, apply EXIF orientation, scale the short side to 224, cut the centre, and hand over uint8
batches ``[64, 224, 224, 3]`` that are checked to be equal. Rounds alternate; the ratio is that of the median rates.
The photographs come from ``KINTSUGI_DATA`` where it is set, else from scikit-learn.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from kintsugi.data.encoded import Files
from kintsugi.data.imageset import ImageSet

SIZE, BATCH, WORKERS = 224, 64, 2


def photographs(folder: Path, count: int = 512) -> list[Path]:
    root = os.environ.get("KINTSUGI_DATA")
    made = []
    if root and (archive := Path(root) / "imagenet_photos_500_short256.zip").exists():
        with zipfile.ZipFile(archive) as stored:
            contents = [
                stored.read(name) for name in sorted(stored.namelist()) if name.lower().endswith((".jpg", ".jpeg"))
            ]
    else:
        from sklearn.datasets import load_sample_images

        contents = []
        for image in load_sample_images().images:
            held = io.BytesIO()
            Image.fromarray(image).save(held, "JPEG", quality=92)
            contents.append(held.getvalue())
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        path.write_bytes(contents[number % len(contents)])
        made.append(path)
    return made


def plain(paths: list[Path]) -> np.ndarray:
    """What anyone would write: decode, orient, resize, crop."""
    made = []
    for path in paths:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        short, long = min(image.size), max(image.size)
        sides = (SIZE, int(SIZE * long / short))
        image = image.resize(sides if image.width == short else sides[::-1], Image.Resampling.BILINEAR)
        left, top = round((image.width - SIZE) / 2), round((image.height - SIZE) / 2)
        made.append(np.asarray(image.crop((left, top, left + SIZE, top + SIZE))))
    return np.stack(made)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder))
        ids = pa.array([path.name for path in paths])
        data = ImageSet(Files(paths), pa.table({"id": ids, "label": pa.array([0] * len(paths), pa.int64())}), ["photo"])
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as pool:
            list(pool.map(plain, batches[:2]))  # start the processes and warm the file cache
            ours = [image for _, image in data.stream(BATCH, size=(SIZE, SIZE), workers=WORKERS)]
            theirs = list(pool.map(plain, batches))
            same = all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
            times: dict[str, list[float]] = {"stream": [], "pool": []}
            for _ in range(chosen.rounds):
                start = time.perf_counter()
                count = sum(len(image) for _, image in data.stream(BATCH, size=(SIZE, SIZE), workers=WORKERS))
                times["stream"].append(count / (time.perf_counter() - start))
                start = time.perf_counter()
                count = sum(len(image) for image in pool.map(plain, batches))
                times["pool"].append(count / (time.perf_counter() - start))
    rates = {name: statistics.median(values) for name, values in times.items()}
    result = {"equal": same, "images": len(paths), **rates, "ratio": rates["stream"] / rates["pool"]}
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"stream, {WORKERS} threads:  {rates['stream']:8.0f} images/s")
    print(f"pool, {WORKERS} processes: {rates['pool']:8.0f} images/s")
    print(f"ratio {result['ratio']:.2f} (wanted: at least 0.90); batches equal: {same}")


if __name__ == "__main__":
    main()
