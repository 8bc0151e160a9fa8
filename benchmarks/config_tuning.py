"""How to guide, chosen on the validation part of a world: the settings that the trial of ConfiG tests.

    python benchmarks/config_tuning.py digits [--device cuda] [--trainings 2] [--workers 4]

For every setting of the grid, one student (or more: ``--each``) of each training and row is trained on 100 images
guided by ConfiG's objective, another on 100 guided by the student alone; worst-group accuracy on validation decides.
Both get the same grid. Seeds are others than the trial's. ``benchmarks/tuning/config.json`` holds what was run: parts
of the grid, coarse steps first, the rest around what was best; two settings are compared on the students that both
have. Its rows of several rounds drew later rounds from another stream than the trial does.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from kintsugi.core.run import Run
from kintsugi.prove.additions import Guiding
from kintsugi.prove.bench import METRIC, Arms, Bench
from kintsugi.prove.trials.config import SETTINGS, SHARES
from kintsugi.prove.worlds import WORLDS

GRID = (
    *(Guiding(steps, 0.1, rate) for steps in (4, 8, 20) for rate in (0.03, 0.1)),
    *(Guiding(8, 0.03, rate) for rate in (0.03, 0.1, 0.3)),
    *(Guiding(8, 0.01, rate) for rate in (0.1, 0.3)),
    *(Guiding(20, 0.01, rate) for rate in (0.03, 0.1)),
    Guiding(20, 0.003, 0.3),
    *(Guiding(20, 0.01, 0.03, rounds=rounds) for rounds in (2, 3)),
)
FORMS = {"ConfiG": "product", "student only": "student"}


def unit(task: tuple[str, str, int, int, str]) -> list[dict[str, object]]:
    """One training of teacher and generator, its students, every setting."""
    name, share, seed, each, device = task
    torch.set_num_threads(1)
    bench = Bench(WORLDS[name](), "valid", SETTINGS[name], device)
    pool, lengths = bench.pool(SHARES[share], seed), bench.how.lengths
    teacher, generator = bench.teacher(seed, Run(None)), bench.generator(pool, seed, Run(None))
    made: list[dict[str, object]] = []
    for student in range(10 * seed, 10 * seed + each):
        arms = Arms(bench, teacher, generator, pool, student)
        again = partial(arms.student, lengths[0])
        before = again()
        for how in GRID:
            for arm, data in arms.added.guided(before, FORMS, how, again).items():
                score = {str(steps): bench.measure(arms.student(steps, data))[METRIC] for steps in lengths}
                where = {"world": name, "row": share, "training": seed, "student": student}
                made.append({**where, "arm": arm, "guiding": vars(how), "device": device, **score})
                print(json.dumps(made[-1]), flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=sorted(WORLDS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--each", type=int, default=1, help="students of a training")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    args = parser.parse_args()
    tasks = [(args.world, share, seed, args.each, args.device) for seed in range(args.trainings) for share in SHARES]
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        rows = [row for made in pool.map(unit, tasks) for row in made]
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))
    first = str(SETTINGS[args.world].lengths[0])
    for arm in FORMS:
        for how in GRID:
            scores = [row[first] for row in rows if row["arm"] == arm and row["guiding"] == vars(how)]
            print(f"{arm:14}{how!s:70}{np.mean(scores):.3f}")


if __name__ == "__main__":
    main()
