"""The usual trial: everything anew for each seed, method and baselines beside each other on the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import require
from kintsugi.prove.trial import Cell, Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

Measured = Iterable[tuple[str, str, dict[str, float]]]


@dataclass(frozen=True)
class Seeded:
    """A trial whose seeds are independent.

    Attributes:
        name: of the method.
        title: what is shown, in one line.
        claims: what must hold.
        measure: ``(seed, run)`` to ``(row, arm, scores)`` for every row and arm; a module's own function, since units
            run in processes of their own.
        data: which real images, and where the settings were fixed.
        seeds: paired seeds by default, three or more.
        settings: numbers worth recording.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    measure: Callable[[int, Run], Measured]
    data: str
    seeds: int = 5
    settings: dict[str, Any] = field(default_factory=dict)

    def units(self, seeds: int | None) -> Sequence[str]:
        """One unit a seed."""
        return [f"seed-{seed}" for seed in range(_enough(self.seeds if seeds is None else seeds))]

    def run(self, unit: str, run: Run) -> list[Cell]:
        """Every row and arm of one seed."""
        seed = int(unit.removeprefix("seed-"))
        return [Cell(row, unit, seed, arm, scores) for row, arm, scores in self.measure(seed, run)]

    def facts(self) -> dict[str, Any]:
        """Data and settings."""
        return {"data": self.data, "settings": self.settings}


@dataclass(frozen=True)
class ByDataset:
    """A trial whose unit is one seed of one data set.

    Attributes:
        name: of the method.
        title: what is shown, in one line.
        claims: what must hold.
        measure: ``(dataset, seed, run)`` to ``(row, arm, scores)``; a module's own function, or a partial one.
        data: which real images, and where the settings were fixed.
        datasets: their names; every row is of one.
        seeds: paired seeds by default, three or more.
        settings: numbers worth recording.
    """

    name: str
    title: str
    claims: tuple[Claim, ...]
    measure: Callable[[str, int, Run], Measured]
    data: str
    datasets: tuple[str, ...]
    seeds: int = 3
    settings: dict[str, Any] = field(default_factory=dict)

    def units(self, seeds: int | None) -> Sequence[str]:
        """Data sets within seeds."""
        count = _enough(self.seeds if seeds is None else seeds)
        return [f"{dataset}-seed-{seed}" for seed in range(count) for dataset in self.datasets]

    def run(self, unit: str, run: Run) -> list[Cell]:
        """Every row and arm of one data set."""
        dataset, _, seed = unit.partition("-seed-")
        return [Cell(row, unit, int(seed), arm, scores) for row, arm, scores in self.measure(dataset, int(seed), run)]

    def facts(self) -> dict[str, Any]:
        """Data and settings."""
        return {"data": self.data, "settings": self.settings}


def _enough(seeds: int) -> int:
    require(seeds >= 3, "seeds", seeds, "three or more: an effect over fewer has no interval worth the name")
    return seeds
