"""What travels between rooms: one image with its facts, a batch of them, and what a model said of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is known of it.

    Attributes:
        image: uint8 ``[H, W, 3]`` RGB, upright.
        label: class index, -1 where unknown.
        index: row in the image set it came from.
        id: stable name through audit, repair and report.
        row: every other column of the table.
    """

    image: NDArray[np.uint8]
    label: int
    index: int
    id: str
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """A batch of images on one device.

    Attributes:
        image: float ``[B, C, H, W]`` in 0..1.
        label: int64 ``[B]``, -1 where unknown.
        target: float ``[B, K]`` soft label, rows summing to 1, or None.
        weight: float ``[B]``, or None for all 1.
        group: int64 ``[B]``, -1 where unknown, or None.
        mask: bool ``[B, H, W]``, or None.
        index: int64 ``[B]``, row in the image set.
        id: the samples' ids; empty where the loop has no use for them (rows are named by ``index``).
    """

    image: torch.Tensor
    label: torch.Tensor
    index: torch.Tensor
    target: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    group: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    id: Sequence[str] = ()

    def __len__(self) -> int:
        return int(self.image.shape[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Batch:
        """The same batch on another device."""
        moved = {
            name: value.to(device, non_blocking=non_blocking)
            for name in ("image", "label", "index", "target", "weight", "group", "mask")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def replace(self, **changes: Any) -> Batch:
        """A copy with some fields changed; the others are shared."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Outputs:
    """What a model said about a data set: all a black box or a predictions file can give.

    Attributes:
        id: the samples' ids, in the data set's order.
        prob: float ``[N, K]``, rows in the simplex.
        features: float ``[N, D]`` or None.
        held_out: whether these samples were unseen in training; None when nobody knows.
        source: in words, where the outputs come from (``"model"``, ``"5-fold heads on frozen features"``).
    """

    id: Sequence[str]
    prob: NDArray[np.floating[Any]]
    features: NDArray[np.floating[Any]] | None = None
    held_out: bool | None = None
    source: str = "model"

    def __post_init__(self) -> None:
        if self.prob.ndim != 2 or len(self.prob) != len(self.id):
            raise BadData(
                f"prob has shape {self.prob.shape} for {len(self.id)} ids:",
                "one row of K probabilities a sample is needed.",
            )
        bad = np.flatnonzero(~np.isfinite(self.prob).all(axis=1))
        if len(bad):
            raise BadData(
                f"prob is not finite for {len(bad)} samples, first {self.id[int(bad[0])]!r}:",
                "remove these rows or repair the model that made them.",
            )
        total = self.prob.sum(axis=1)
        off = np.flatnonzero((np.abs(total - 1.0) > 1e-3) | (self.prob < -1e-6).any(axis=1))
        if len(off):
            worst = int(off[0])
            raise BadData(
                f"prob does not sum to 1 for {len(off)} samples, first {self.id[worst]!r} ({total[worst]:.4g}):",
                "give probabilities, or logits under the name 'logits'.",
            )
        if self.features is not None and len(self.features) != len(self.id):
            raise BadData(
                f"features has {len(self.features)} rows for {len(self.id)} ids:",
                "one row a sample is needed.",
            )

    def take(self, ids: Sequence[str]) -> Outputs:
        """The outputs of the samples named, in that order.

        Raises:
            BadData: a sample has no outputs.
        """
        if list(ids) == list(self.id):
            return self
        place = {name: number for number, name in enumerate(self.id)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise BadData(
                f"There are no outputs for {len(missing)} of {len(ids)} samples, first {missing[0]!r}:",
                "give outputs of the same data, named by the same ids.",
            )
        rows = np.array([place[name] for name in ids], dtype=np.int64)
        features = None if self.features is None else self.features[rows]
        return replace(self, id=tuple(ids), prob=self.prob[rows], features=features)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class, int64 ``[N]``."""
        return np.asarray(self.prob.argmax(axis=1), dtype=np.int64)
