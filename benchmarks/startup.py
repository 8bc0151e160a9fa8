"""How long a person waits for `import kintsugi` and `kintsugi methods`, beside the bare interpreter, in one run.

    python benchmarks/startup.py

Whole processes, interleaved, medians of 15. Bounds: `import kintsugi` 0.5 s, `kintsugi methods` 1 s.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import kintsugi": [sys.executable, "-c", "import kintsugi"],
    "kintsugi methods": [sys.executable, "-m", "kintsugi", "methods"],
}
BOUNDS = {"import kintsugi": 0.5, "kintsugi methods": 1.0}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(16):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if turn:  # the first turn fills the file cache
                seconds[name].append(time.perf_counter() - began)
    bare = statistics.median(seconds["bare interpreter"])
    rows = {}
    for name, values in seconds.items():
        median = statistics.median(values)
        rows[name] = {
            "median_s": round(median, 4),
            "ratio_to_bare": round(median / bare, 2),
            "bound_s": BOUNDS.get(name),
        }
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
