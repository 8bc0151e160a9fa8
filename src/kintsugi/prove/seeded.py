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
        count = self.seeds if seeds is None else seeds
        require(count >= 3, "seeds", count, "three or more: an effect over fewer has no interval worth the name")
        return [f"seed-{seed}" for seed in range(count)]

    def run(self, unit: str, run: Run) -> list[Cell]:
        """Every row and arm of one seed."""
        seed = int(unit.removeprefix("seed-"))
        return [Cell(row, unit, seed, arm, scores) for row, arm, scores in self.measure(seed, run)]

    def facts(self) -> dict[str, Any]:
        """Data and settings."""
        return {"data": self.data, "settings": self.settings}
