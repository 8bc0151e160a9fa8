"""Evidence for `macro_std`: its interval holds the true spread; its test tells real sub-groups from arbitrary ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.macro_std import MacroStd, macro_std
from kintsugi.prove.population import DATA, Population, covers, population
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

REAL, ARBITRARY = "three cameras", "three arbitrary parts"
PLAIN, TESTS = "percentile bootstrap", "chi-squared in any class"
SIZE, DRAWS = 600, 300


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "macro_std",
        "macro_std: share of drawn test sets whose 95% interval holds the true spread, and in which sub-groups are "
        "rightly held to matter (p < 0.05) or not",
        (
            Claim(REAL, "coverage", "macro_std", (PLAIN,), shown_only=True),
            Claim(REAL, "coverage", "macro_std", ("90%",)),
            Claim(REAL, "told right", "macro_std", ("90%",)),
            Claim(ARBITRARY, "told right", "macro_std", (TESTS,), margin=0.1),
            Claim(ARBITRARY, "told right", "macro_std", ("90%",)),
        ),
        _measure,
        f"{DATA}; {SIZE} answers a test set, {DRAWS} test sets a seed; sub-groups of a digit are the cameras, or three "
        "parts dealt at random, which are equally good; claims were fixed on seeds 100 to 102",
    )


def _measure(seed: int, run: Run) -> Measured:
    whole, rng = population(seed), numpy_rng(seed, "draws")
    truth = whole.measured(MacroStd(draws=100))["value"]
    told: dict[tuple[str, str], list[bool]] = {}
    covered: dict[str, list[bool]] = {"macro_std": [], PLAIN: []}
    for _ in range(DRAWS):
        drawn = whole.draw(SIZE, rng)
        for row in (REAL, ARBITRARY):
            seen = drawn if row == REAL else Population(drawn.prob, drawn.label, rng.permutation(drawn.group))
            answer = seen.measured(MacroStd(draws=500))
            told.setdefault((row, "macro_std"), []).append((answer["p_value"] < 0.05) == (row == REAL))
            told.setdefault((row, TESTS), []).append(_any_class(seen) == (row == REAL))
            if row == REAL:
                covered["macro_std"].append(covers(answer["interval"], truth))
                covered[PLAIN].append(covers(_bootstrap(seen, rng), truth))
    for (row, arm), right in told.items():
        scores = {"told right": float(np.mean(right))}
        yield (
            row,
            arm,
            scores | ({"coverage": float(np.mean(covered[arm]))} if (row, arm) == (REAL, "macro_std") else {}),
        )
    yield REAL, PLAIN, {"coverage": float(np.mean(covered[PLAIN]))}
    for row in (REAL, ARBITRARY):
        yield row, "90%", {"told right": 0.9, "coverage": 0.9}


def _bootstrap(seen: Population, rng: np.random.Generator) -> tuple[float, float]:
    """Right answers of every cell drawn again, and no correction."""
    cell = 3 * seen.label + seen.group
    total, right = np.bincount(cell), np.bincount(cell, weights=seen.right)
    held = np.flatnonzero(total)
    drawn = rng.binomial(total[held], right[held] / total[held], size=(1000, len(held)))
    low, high = np.quantile(macro_std(drawn, total[held], held // 3), [0.025, 0.975])
    return float(low), float(high)


def _any_class(seen: Population) -> bool:
    """Whether a chi-squared test at 5% finds that sub-groups matter, in any class."""
    from scipy.stats import chi2_contingency

    for k in np.unique(seen.label):
        mine = seen.label == k
        table = np.zeros((2, 3), dtype=np.int64)
        np.add.at(table, (seen.right[mine].astype(int), seen.group[mine]), 1)
        table = table[:, table.sum(axis=0) > 0]
        if table.sum(axis=1).min() > 0 and chi2_contingency(table).pvalue < 0.05:
            return True
    return False
