"""Which detector of wrong labels works under which noise, and does it pay to drop what it flags: the grid of AQuA.

Goswami, Sanchez, Choudhry and Dubrawski, "AQuA: A Benchmarking Tool for Label Quality Assessment", NeurIPS 2023. Noise
is planted in training labels alone; every detector sees the same held-out outputs and features. Experiment B: F1 of the
flags and average precision of the scores for the wrong labels. Experiment A: a head trained without the flagged samples
is tested on true labels.

Where AQuA's tables mislead this differs: F1 is that of the wrong labels, not weighted by class (flagging nothing then
scores 0.65, as AQuA's AUM does on most data, whose code flags nearly nothing); beside every detector stand "flag
nothing", "flag at random" at the true rate and "flag the wrong ones". Base models are logistic heads on frozen features
in place of nets of 20 epochs, so that a cell takes seconds; its rates 0.1 and 0.4 are the paper's. In place of noise
models that need annotators CIFAR-10 has three of the sets of labels that people gave it (CIFAR-10N). Detectors are
ranked in every cell; the differences of mean ranks are told from chance by Friedman's test and Nemenyi's critical
difference (Demsar, JMLR 2006).

cleanlab's flags and scores are rows where it is installed; the summary says whether.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.files import read_json, write_json
from kintsugi.core.progress import task
from kintsugi.core.run import Run
from kintsugi.core.verdict import Verdict
from kintsugi.prove.label_arms import DETECTORS, NOTHING, RANDOM, has_cleanlab, measure
from kintsugi.prove.label_cells import CIFAR, DATASETS, NOISES, RATES
from kintsugi.prove.processes import spread

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="label_quality_grid",
    kind="study",
    title="Detectors of wrong labels under every noise, and what dropping the flagged brings",
    paper="Goswami et al., AQuA: A Benchmarking Tool for Label Quality Assessment, NeurIPS 2023, arXiv 2306.09467",
    card=12,
    code="https://github.com/autonlab/aqua",
    uses=("label_errors", "confident_learning", "aum", "cincer", "simifeat", "beta_mixture"),
    status="not proven",
)

PEOPLE = {"aggre_label": 0.09, "random_label1": 0.17, "worse_label": 0.4}  # how often they are wrong, as published
IMAGES = 2000

Cell = tuple[str, str, float, int]  # data set, noise, rate, seed


@dataclass(frozen=True)
class LabelQualityGrid:
    """The grid.

    Args:
        datasets: of :data:`kintsugi.prove.label_cells.DATASETS`; None takes MNIST, Fashion-MNIST and CIFAR-10 where
            KINTSUGI_DATA holds them, else scikit-learn's digits.
        seeds: draws of each cell.
        images: of each cell at most, 200 or more.
        noises: planted, or sets of CIFAR-10N's labels.
        rates: of planted wrong labels.
    """

    datasets: tuple[str, ...] | None = None
    seeds: int = 3
    images: int = IMAGES
    noises: tuple[str, ...] = (*NOISES, *PEOPLE)
    rates: tuple[float, ...] = RATES

    def __post_init__(self) -> None:
        for dataset in self.datasets or ():
            one_of("datasets", dataset, DATASETS)
        for noise in self.noises:
            one_of("noises", noise, (*NOISES, *PEOPLE))
        for rate in self.rates:
            require(0 < rate < 1, "rates", rate, "shares above 0 and below 1")
        require(self.seeds >= 1, "seeds", self.seeds, "1 or more")
        require(self.images >= 200, "images", self.images, "200 or more")

    def run(self, models: Sequence[Any], data: ImageSet | None, rng: int) -> tuple[dict[str, Any], Verdict]:
        """The table, and whether dropping what ``label_errors`` flags makes a better head than dropping nothing.

        Args:
            models: not used: heads are trained anew.
            data: not used: the truth must be known, so the grid's own data are.
            rng: first seed.
        """
        seeds = range(rng, rng + self.seeds)
        result = run_grid(
            None, datasets=self.datasets, seeds=seeds, images=self.images, noises=self.noises, rates=self.rates
        )
        return result, _verdict(result["cells"])


def run_grid(
    out: Path | str | None,
    *,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    images: int = IMAGES,
    noises: Sequence[str] = (*NOISES, *PEOPLE),
    rates: Sequence[float] = RATES,
) -> dict[str, Any]:
    """Measure every cell and sum up; cells that a folder holds are not measured again.

    Args:
        out: folder; one file a cell below ``cells``, and ``grid.json``. None keeps nothing.
        datasets: see :class:`LabelQualityGrid`.
        seeds: of the draws.
        workers: processes.
        images: of each cell at most.
        noises: planted, or sets of CIFAR-10N's labels, which other data sets have not.
        rates: of planted wrong labels.

    Returns:
        ``table`` (means over seeds), ``ranks``, ``cells`` and ``notes``, plain data.
    """
    require(workers >= 1, "workers", workers, "1 or more")
    names = tuple(datasets) if datasets is not None else available()
    asked = _cells(names, seeds, noises, rates)
    require(bool(asked), "noises", tuple(noises), f"one that {', '.join(names)} can have")
    run = Run(out)
    with run.locked():
        run.start({"study": CARD.name, "images": images, "cleanlab": has_cleanlab()})
        kept = [cell for cell in asked if run.stored and run.path(_file(cell)).exists()]
        cells = {cell: read_json(run.path(_file(cell)))["rows"] for cell in kept}
        todo = [cell for cell in asked if cell not in cells]
        # Cells of one draw follow each other in one process, which takes the features of the images once.
        draws = [tuple(group) for _, group in groupby(todo, lambda cell: (cell[0], cell[3]))]
        with task("label quality grid", len(asked)) as tracker:
            tracker.advance(len(cells))
            for draw, tables in spread(partial(_draw, run.dir if run.stored else None, images), draws, workers):
                cells |= dict(zip(draw, tables, strict=True))
                tracker.advance(len(draw), note=f"{draw[0][0]}, seed {draw[0][3]}")
        result = _summary({cell: cells[cell] for cell in asked})
        if run.stored:
            write_json(run.path("grid.json"), result)
    return result


def available() -> tuple[str, ...]:
    """The data sets that can be had here: the real ones with KINTSUGI_DATA, else the embedded digits."""
    from kintsugi.data.given import given_file

    try:
        given_file(CIFAR)
    except BadData:
        return ("digits",)
    return DATASETS[1:]


def _cells(datasets: Sequence[str], seeds: Sequence[int], noises: Sequence[str], rates: Sequence[float]) -> list[Cell]:
    made = []
    for dataset, seed in ((dataset, int(seed)) for dataset in datasets for seed in seeds):
        made += [(dataset, noise, rate, seed) for noise in noises if noise in NOISES for rate in rates]
        made += [(dataset, noise, PEOPLE[noise], seed) for noise in noises if noise in PEOPLE and dataset == "cifar10"]
    return made


def _draw(folder: Path | None, images: int, cells: Sequence[Cell]) -> list[list[dict[str, Any]]]:
    """The rows of some cells of one draw; each is kept as soon as it is measured."""
    made = []
    for cell in cells:
        made.append(measure(*cell, images, None if folder is None else folder / "cache"))
        if folder is not None:
            write_json(folder / _file(cell), {"rows": made[-1]})
    return made


def _file(cell: Cell) -> str:
    dataset, noise, rate, seed = cell
    return f"cells/{dataset}-{noise}-{rate:g}-{seed}.json"


def _summary(cells: dict[Cell, list[dict[str, Any]]]) -> dict[str, Any]:
    flat = [
        {"dataset": d, "noise": n, "rate": r, "seed": s, **row} for (d, n, r, s), rows in cells.items() for row in rows
    ]
    keys = list(dict.fromkeys((row["dataset"], row["noise"], row["rate"], row["detector"]) for row in flat))
    numbers = [name for name in flat[0] if isinstance(flat[0][name], float) and name != "rate"] if flat else []
    table = []
    for key in keys:
        mine = [row for row in flat if (row["dataset"], row["noise"], row["rate"], row["detector"]) == key]
        means = {name: float(np.mean([row[name] for row in mine])) for name in numbers}
        facts = dict(zip(("dataset", "noise", "rate", "detector"), key, strict=True))
        table.append({**facts, **means, "seeds": len(mine)})
    note = "cleanlab is installed: its rows are its own." if has_cleanlab() else "cleanlab is not installed: left out."
    return {"table": table, "ranks": _ranks(cells), "cells": flat, "notes": [note]}


def _ranks(cells: dict[Cell, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean rank of each detector by F1 and by average precision (1 is best), with Friedman's test and Nemenyi's gap."""
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    made: dict[str, Any] = {}
    for metric in ("F1", "average precision"):
        values = np.array([[row[metric] for row in rows if row["detector"] in DETECTORS] for rows in cells.values()])
        if len(values) < 2 or values.shape[1] < 3:
            continue
        k = values.shape[1]
        rank = rankdata(-values, axis=1).mean(axis=0)
        # Seeds of a cell are not independent cells: the test takes means over seeds.
        groups = np.array(["|".join(map(str, key[:3])) for key in cells])
        means = np.stack([values[groups == group].mean(axis=0) for group in dict.fromkeys(groups.tolist())])
        told = len(means) > 1 and bool((np.ptp(means, axis=1) > 0).any())
        p = float(friedmanchisquare(*means.T).pvalue) if told else None
        gap = studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * len(means)))
        order = np.argsort(rank, kind="stable")
        made[metric] = {
            "mean rank": {DETECTORS[i]: float(rank[i]) for i in order},
            "Friedman p": p,
            "critical difference": float(gap),
            "cells": len(means),
        }
    return made


def _verdict(cells: list[dict[str, Any]]) -> Verdict:
    """Paired over cells: the test score after dropping what label_errors flags less that after dropping nothing."""
    from kintsugi.core.randomness import numpy_rng
    from kintsugi.ops.statistics import percentile_interval

    names = ("dataset", "noise", "rate", "seed", "detector")
    score = {tuple(cell[name] for name in names): cell["test F1 after dropping"] for cell in cells}
    gain = np.array([v - score[(*key[:4], NOTHING)] for key, v in score.items() if key[4] == "label_errors"])
    draws = gain[numpy_rng(0, "label_quality_grid").integers(len(gain), size=(10_000, len(gain)))].mean(axis=1)
    low, high = percentile_interval(draws, 0.95)
    word = "better" if low > 0 else "worse" if high < 0 else "not proven"
    rule = "weighted test F1 after dropping what label_errors flags less that of dropping nothing, paired over cells"
    return Verdict(word, float(gain.mean()), (float(low), float(high)), rule)


__all__ = ["CARD", "DETECTORS", "NOTHING", "RANDOM", "LabelQualityGrid", "available", "run_grid"]
