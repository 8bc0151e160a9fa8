"""Finding label errors beside cleanlab, on 500,000 x 100 probabilities of single precision, in one run.

Both libraries must be importable; some peers pin old libraries, so they live in an environment of their own:

    make peers
    .venv-peers/bin/python benchmarks/label_issues.py [--rounds 5] [--json]

Rounds alternate between the libraries; times are medians. cleanlab runs at its defaults and at the best of its settings
(processes, batch sizes), found first. Every set must be the peer's: where counts of cells are rounded from equal
remainders or samples are equally probable, either choice is right, so sets are compared once as they are and once with
the peer given our whole counts, where only equal margins are left. Peak memory is the growth of each process's resident
memory while it works, each in a fresh process that holds the input and nothing else, over the size of the input.

Wanted: at least 4 times as fast as ``find_label_issues``, at least 3 times as ``find_label_issues_batched``, and a peak
(input included) of at most 1.5 times the input.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kintsugi.audit.labels.joint import calibrate, confident_joint, find_label_issues

SAMPLES, CLASSES = 500_000, 100
FILTERS = {
    "pbnr": "prune_by_noise_rate",
    "pbc": "prune_by_class",
    "c+nr": "both",
    "confusion": "confident_learning",
    "argmax": "predicted_neq_given",
}


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a tenth are wrong, and probabilities right for five in six."""
    rng = np.random.default_rng(seed)
    true = rng.integers(CLASSES, size=SAMPLES)
    step = rng.integers(1, CLASSES, size=SAMPLES)
    label = np.where(rng.random(SAMPLES) < 0.1, (true + step) % CLASSES, true)
    prob = np.empty((SAMPLES, CLASSES), dtype=np.float32)
    for start in range(0, SAMPLES, 20_000):
        some = true[start : start + 20_000]
        logits = 1.5 * rng.standard_normal((len(some), CLASSES), dtype=np.float32)
        logits[np.arange(len(some)), some] += rng.normal(6, 2, len(some)).astype(np.float32)
        power = np.exp(logits - logits.max(axis=1, keepdims=True))
        prob[start : start + 20_000] = power / power.sum(axis=1, keepdims=True)
    return label, prob


def ours(label: np.ndarray, prob: np.ndarray, method: str) -> np.ndarray:
    return find_label_issues(label, prob, method, collision="argmax")


def peer(label: np.ndarray, prob: np.ndarray, method: str, **settings: Any) -> np.ndarray:
    if method == "lowest":
        from cleanlab.experimental.label_issues_batched import find_label_issues_batched

        return find_label_issues_batched(label, prob, verbose=False, return_mask=True, **settings)
    from cleanlab.filter import find_label_issues as find

    return find(label, prob, filter_by=FILTERS[method], **settings)


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def agreement(label: np.ndarray, prob: np.ndarray, method: str) -> dict[str, Any]:
    """In how many samples the sets differ, as they are and with equal remainders settled alike."""
    mine, theirs = ours(label, prob, method), peer(label, prob, method)
    told: dict[str, Any] = {"flagged": int(mine.sum()), "differ": int((mine != theirs).sum())}
    if method in ("pbnr", "pbc", "c+nr"):
        from cleanlab.count import compute_confident_joint

        whole = calibrate(confident_joint(label, prob, "argmax"), np.bincount(label, minlength=CLASSES))
        raw = compute_confident_joint(label, prob, calibrate=False)
        told["same joint"] = bool((raw == confident_joint(label, prob, "argmax")).all())
        told["cells rounded otherwise"] = unequal_remainders(raw, whole, compute_confident_joint(label, prob), label)
        settled = peer(label, prob, method, confident_joint=whole)
        told["differ, ties settled"] = int((mine != settled).sum())
    return told


def unequal_remainders(raw: np.ndarray, mine: np.ndarray, theirs: np.ndarray, label: np.ndarray) -> int:
    """Rows in which the two roundings are not permutations of each other among cells of equal count: must be 0."""
    bad = 0
    for row in np.flatnonzero((mine != theirs).any(axis=1)):
        for count in np.unique(raw[row]):
            cells = raw[row] == count
            bad += int(sorted(mine[row, cells]) != sorted(theirs[row, cells]))
    return bad


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak(who: str, method: str) -> None:
    """In a fresh process: prints peak resident memory less what it held before the input, over the input's size."""
    warnings.filterwarnings("ignore")
    tiny = np.full((40, 2), 0.5, dtype=np.float32)
    (ours if who == "ours" else peer)(np.arange(40) % 2, tiny, method)  # imports are no part of the work
    bare = resident()
    label, prob = np.load(sys.argv[4]), np.load(sys.argv[5])
    most, done = resident(), threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    (ours if who == "ours" else peer)(label, prob, method)
    done.set()
    watcher.join()
    print((max(most, resident()) - bare) / prob.nbytes)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    warnings.filterwarnings("ignore")
    label, prob = made()
    best = {
        "pbnr": min(
            ({"n_jobs": n} for n in (1, 2, None)), key=lambda s: seconds(lambda: peer(label, prob, "pbnr", **s))
        ),
        "lowest": min(
            (*({"batch_size": size, "n_jobs": 1} for size in (10_000, 100_000, SAMPLES)), {"n_jobs": 2}),
            key=lambda s: seconds(lambda: peer(label, prob, "lowest", **s)),
        ),
    }
    table = []
    for method in ("pbnr", "lowest"):
        times: dict[str, list[float]] = {"ours": [], "peer, default": [], "peer, best": []}
        for _ in range(chosen.rounds):
            times["ours"].append(seconds(lambda m=method: ours(label, prob, m)))
            times["peer, default"].append(seconds(lambda m=method: peer(label, prob, m)))
            times["peer, best"].append(seconds(lambda m=method: peer(label, prob, m, **best[m])))
        middle = {name: statistics.median(values) for name, values in times.items()}
        table.append({"method": method, **middle, "best": best[method], "peaks": peaks(label, prob, method)})
    result = {
        "input MB": prob.nbytes / 1e6,
        "table": table,
        "agreement": {method: agreement(label, prob, method) for method in (*FILTERS, "lowest")},
    }
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"{SAMPLES:,} x {CLASSES} probabilities, {result['input MB']:.0f} MB")
    for row, wanted in zip(table, (4, 3), strict=True):
        least = min(row["peer, default"], row["peer, best"]) / row["ours"]
        print(
            f"{row['method']}: ours {row['ours']:.2f} s, cleanlab {row['peer, default']:.2f} s at its defaults, "
            f"{row['peer, best']:.2f} s at {row['best']}: {least:.1f} times as fast (wanted: {wanted})"
        )
        print(
            f"  peak memory over the input, input included: ours {row['peaks']['ours']:.2f} (wanted: 1.50), "
            f"cleanlab {row['peaks']['peer']:.2f}"
        )
    for method, told in result["agreement"].items():
        print(f"{method}: {told}")


def peaks(label: np.ndarray, prob: np.ndarray, method: str) -> dict[str, float]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/label.npy", f"{folder}/prob.npy"]
        np.save(names[0], label)
        np.save(names[1], prob)
        told = {}
        for who in ("ours", "peer"):
            done = subprocess.run(
                [sys.executable, __file__, "--peak", who, method, *names], capture_output=True, text=True, check=True
            )
            told[who] = float(done.stdout.split()[-1])
    return told


if __name__ == "__main__":
    if "--peak" in sys.argv:
        sys.argv.remove("--peak")
        sys.argv.insert(1, "peak")
        peak(sys.argv[2], sys.argv[3])
    else:
        main()
