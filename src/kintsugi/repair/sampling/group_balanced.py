"""Balance groups by what is seen: draw every group equally often, or throw away what the larger groups have too much.

Idrissi, Arjovsky, Pezeshki, Lopez-Paz, "Simple data balancing achieves competitive worst-group-accuracy", CLeaR 2022
(arXiv 2110.14503), section 3: RWG draws samples with replacement with probability inverse to their group's size; SUBG
cuts every group to the size of the smallest; RWY and SUBY do the same with classes, when groups are not known.

SUBG's subset is drawn once, by ``seed``, as in the authors' code; ``redraw`` takes a new one each epoch instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.training.grouping import known_groups, known_labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="group_balanced",
    kind="sampler",
    title="every group (or class) equally often",
    paper="Idrissi, Arjovsky, Pezeshki, Lopez-Paz, Simple data balancing, CLeaR 2022, arXiv 2110.14503",
    card=0,
    code="facebookresearch/BalancingGroups",
    needs=("group labels",),
    status="proven",
)


@dataclass
class GroupBalanced:
    """Uniform over groups.

    Args:
        mode: ``rwg`` (draw groups equally often), ``subg`` (cut groups to the smallest), ``rwy`` and ``suby`` (the same
            by class).
        redraw: whether the cut of ``subg`` and ``suby`` is drawn anew each epoch.
        seed: of the fixed cut.
    """

    mode: str = "rwg"
    redraw: bool = False
    seed: int = 0
    _members: list[NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)
    _count: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("rwg", "subg", "rwy", "suby"))

    def setup(self, data: ImageSet) -> None:
        """Find the members of each group (column ``group``) or class.

        Raises:
            BadData: a sample's group or label is not known.
        """
        by = known_groups if self.mode.endswith("g") else known_labels
        index = by(data, f"group_balanced ({self.mode})")
        self._members = [np.flatnonzero(index == group).astype(np.int64) for group in np.unique(index)]
        self._count = len(index)

    def epoch(self, number: int, batch_size: int, rng: np.random.Generator) -> Iterable[NDArray[np.int64]]:
        """Index batches: as many rows as the data has with ``rwg`` and ``rwy``, the cut once with the others."""
        if self.mode.startswith("rw"):
            group = rng.integers(len(self._members), size=self._count)
            size = np.array([len(members) for members in self._members])[group]
            place = (rng.random(self._count) * size).astype(np.int64)
            starts = np.cumsum([0, *(len(members) for members in self._members[:-1])])
            rows = np.concatenate(self._members)[starts[group] + place]
        else:
            cutter = rng if self.redraw else numpy_rng(self.seed, "subset")
            least = min(len(members) for members in self._members)
            cut = [cutter.choice(members, least, replace=False) for members in self._members]
            rows = rng.permutation(np.concatenate(cut))
        return np.array_split(rows, -(-len(rows) // batch_size))
