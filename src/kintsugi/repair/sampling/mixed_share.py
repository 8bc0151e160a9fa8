"""Batches that hold a fixed share of each origin, whatever the sizes: half real and half generated, for instance.

A few hundred generated images among many real ones change little when all are drawn alike; in trials of ConfiG (card 1)
natural mixing was weak and half of each batch generated was not. Each origin is walked over in random order; the
smaller ones begin again, newly shuffled, until the origin that needs most batches has been seen once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="mixed_share",
    kind="sampler",
    title="a fixed share of each origin in every batch",
    paper="our own finding in trials of Popp, Laube, Schott, Hein, ConfiG, 2025, arXiv 2506.02294",
    card=1,
    status="proven",
)


@dataclass
class MixedShare:
    """A fixed number of rows of each origin in each batch.

    Args:
        column: column that names a sample's origin.
        shares: share of each origin, positive; they are divided by their sum. None gives all origins the same.

    Raises:
        BadArgument: a share is not positive.
    """

    column: str = "origin"
    shares: Mapping[str, float] | None = None
    _members: list[NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)
    _share: NDArray[np.float64] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        ok = self.shares is None or (len(self.shares) > 0 and all(0 < share < np.inf for share in self.shares.values()))
        require(ok, "shares", self.shares, "a number above 0 for each origin, or None")

    def setup(self, data: ImageSet) -> None:
        """Find the members of each origin.

        Raises:
            BadArgument: there is no such column, or the shares do not name its values.
            BadData: an origin is missing or there are no samples.
        """
        values: list[Any] = [str(value) for value in data.column(self.column)]
        origins = sorted(set(values))
        if not origins:
            raise BadData("The training data holds no samples.", "Check the split and the filters.")
        shares = dict.fromkeys(origins, 1.0) if self.shares is None else dict(self.shares)
        if sorted(shares) != origins:
            raise BadArgument.of("shares", self.shares, f"a share for each origin in the data: {', '.join(origins)}")
        texts = np.array(values, dtype=object)
        self._members = [np.flatnonzero(texts == origin).astype(np.int64) for origin in origins]
        share = np.array([shares[origin] for origin in origins], dtype=np.float64)
        self._share = share / share.sum()

    def counts(self, batch_size: int) -> NDArray[np.int64]:
        """Rows of each origin (sorted by name) in a batch: the shares rounded so that they sum to ``batch_size``.

        Raises:
            BadArgument: the batch is too small to hold each origin.
        """
        assert self._share is not None, "setup comes first"
        exact = self._share * batch_size
        counts = np.floor(exact).astype(np.int64)
        rest = batch_size - int(counts.sum())
        counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1  # largest remainders
        if (counts == 0).any():
            raise BadArgument.of("batch_size", batch_size, f"at least {int(np.ceil(1 / self._share.min()))}")
        return counts

    def epoch(self, number: int, batch_size: int, rng: np.random.Generator) -> Iterable[NDArray[np.int64]]:
        """Index batches of ``batch_size`` rows, origins shuffled within."""
        counts = self.counts(batch_size)
        batches = max(-(-len(members) // int(n)) for members, n in zip(self._members, counts, strict=True))
        parts = []
        for members, n in zip(self._members, counts, strict=True):
            rounds = -(-batches * int(n) // len(members))
            order = np.concatenate([rng.permutation(members) for _ in range(rounds)])
            parts.append(order[: batches * n].reshape(batches, n))
        return list(rng.permuted(np.concatenate(parts, axis=1), axis=1))
