"""Running a trial: its units side by side in processes, each finished one kept, so an interrupted proof goes on."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from kintsugi.core.errors import BadArgument
from kintsugi.core.files import read_json, write_json
from kintsugi.core.progress import task
from kintsugi.core.run import Run
from kintsugi.prove.processes import spread
from kintsugi.prove.trial import Cell, Evidence, Trial, judge

LIBRARIES = ("kintsugi-vision", "torch", "torchvision", "numpy", "scikit-learn")


def trial_of(name: str, setting: str = "") -> Trial:
    """The trial of a method: ``prove/trials/NAME.py`` has a function ``trial(setting)``.

    Raises:
        BadArgument: the method has no trial yet.
    """
    known = sorted(path.stem for path in (Path(__file__).parent / "trials").glob("[a-z]*.py"))
    if name not in known:
        raise BadArgument(f"There is no trial of {name!r} yet.", f"Known: {', '.join(known) or 'none'}.")
    made: Trial = import_module(f"kintsugi.prove.trials.{name}").trial(setting)
    return made


def prove(
    trial: Trial, run: Run, *, seeds: int | None = None, workers: int | None = None, command: str = ""
) -> Evidence:
    """Run every unit and judge the claims.

    Args:
        trial: what to run.
        run: folder; a unit that is finished there is not repeated.
        seeds: paired seeds at least; None for the trial's default.
        workers: processes; None for one a core. Each computes on one thread.
        command: how to repeat it, for the record.
    """
    units = list(trial.units(seeds))
    began = time.perf_counter()
    with run.locked():
        run.start({"trial": trial.name, "units": units, **trial.facts()})
        todo = [unit for unit in units if not run.path(f"units/{unit}/cells.json").exists()]
        with task(f"prove {trial.name}", len(units)) as tracker:
            tracker.advance(len(units) - len(todo))
            for unit, _ in spread(partial(_one, trial, run.dir), todo, workers or os.cpu_count() or 1):
                tracker.advance(note=unit)
        cells = tuple(
            Cell(**record) for unit in units for record in read_json(run.path(f"units/{unit}/cells.json"))["cells"]
        )
        seconds = sum(read_json(run.path(f"units/{unit}/cells.json"))["seconds"] for unit in units)
        facts = {
            **trial.facts(),
            "command": command,
            "processor seconds of all units": round(seconds, 1),
            "wall seconds of this call": round(time.perf_counter() - began, 1),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "libraries": {name: version(name) for name in LIBRARIES},
        }
        outcomes = tuple(judge(claim, cells) for claim in trial.claims)
        evidence = Evidence(trial.name, trial.title, cells, outcomes, facts)
        write_json(run.path("evidence.json"), evidence.as_dict())
    return evidence


def _one(trial: Trial, folder: Path, unit: str) -> None:
    where = Run(folder / "units" / unit)
    began = time.process_time()  # what it costs, however many others compute beside it
    cells = trial.run(unit, where)
    record = {"cells": [asdict(cell) for cell in cells], "seconds": time.process_time() - began}
    write_json(where.path("cells.json"), record)
