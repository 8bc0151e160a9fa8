"""A test set corrected by raters' votes: which labels stand, which are replaced, which samples are left out.

The rules are those of Northcutt, Athalye and Mueller (NeurIPS 2021, section 4): five raters see a candidate and choose
the given label, the guessed one, both, or neither. A candidate is an error if fewer than three chose the given label.
Three votes for the guessed label make it correctable, three for both multi-label, three for neither belong to none of
the two; anything else is no agreement. Corrected labels take the place of given ones; other errors leave the test set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import BadData, one_of, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

CHOICES = ("given", "guessed", "both", "neither")
STATUSES = ("given", "correctable", "multi_label", "neither", "no_agreement")
RATERS, AGREED = 5, 3


def settled(votes: Sequence[str]) -> str:
    """What five votes make of a candidate, one of :data:`STATUSES`; ``given`` means that its label stands."""
    require(len(votes) == RATERS, "votes", tuple(votes), f"{RATERS} votes a candidate")
    for vote in votes:
        one_of("votes", vote, CHOICES)
    for choice, status in zip(CHOICES, STATUSES, strict=False):
        if sum(vote == choice for vote in votes) >= AGREED:
            return {"guessed": "correctable", "both": "multi_label"}.get(
                choice, status if choice == "given" else choice
            )
    return "no_agreement"


@dataclass(frozen=True)
class CorrectedTestSet:
    """What was decided about the candidates; samples nobody doubted keep their labels.

    Attributes:
        label: class name each corrected sample has now, by id.
        dropped: status of each sample left out, by id.
    """

    label: Mapping[str, str]
    dropped: Mapping[str, str]

    @classmethod
    def of_votes(cls, candidates: Mapping[str, tuple[str, Sequence[str]]]) -> CorrectedTestSet:
        """By votes.

        Args:
            candidates: for each id the guessed class name and the five votes.
        """
        status = {name: settled(votes) for name, (_, votes) in candidates.items()}
        return cls(
            {name: candidates[name][0] for name, said in status.items() if said == "correctable"},
            {name: said for name, said in status.items() if said not in ("given", "correctable")},
        )

    def apply(self, data: ImageSet) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which samples stay, bool ``[N]``, and their labels, int64 ``[N]``. Samples without a label are left out.

        Raises:
            BadData: a corrected label is no class of the data, or an id is not in it.
        """
        place = {name: row for row, name in enumerate(data.ids)}
        missing = [name for name in (*self.label, *self.dropped) if name not in place]
        if missing:
            raise BadData(
                f"{len(missing)} voted samples are not in the data, first {missing[0]!r}:", "vote on the same test set."
            )
        number = {name: k for k, name in enumerate(data.classes)}
        foreign = [name for name in self.label.values() if name not in number]
        if foreign:
            raise BadData(f"{foreign[0]!r} is no class of the data:", f"give one of {', '.join(data.classes[:5])}...")
        label, kept = data.labels.copy(), data.labels >= 0
        for name, now in self.label.items():
            label[place[name]] = number[now]
        kept[[place[name] for name in self.dropped]] = False
        return kept, label
