"""`Feed`: a data set as batches on the device. Sets in memory are gathered by index; others are decoded in parallel."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadData
from kintsugi.data.source import ArraySource, Joined, Source
from kintsugi.data.stream import resized
from kintsugi.models.preprocess import decoding
from kintsugi.training.grouping import group_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

# Sets in memory up to this many bytes are kept on an accelerator whole, so that no step waits for a copy.
RESIDENT = 2 << 30


class Feed:
    """Batches with all that the table knows: label, soft label (``target``), ``weight`` and ``group``.

    Args:
        data: the image set.
        size: (height, width) to decode to; None takes what the preprocessing of ``model`` scales to.
        fit: ``crop``, ``squash`` or ``pad``.
        model: who the batches are for; None keeps the images' own size, which must then be the same for all.
        workers: decoding threads.
        device: where the batches go.
    """

    def __init__(
        self,
        data: ImageSet,
        *,
        size: tuple[int, int] | None = None,
        fit: str = "crop",
        model: Any = None,
        workers: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data, self.workers = data, workers
        self.size, self.fit = decoding(model, data, size, fit)
        self.device = torch.device(device)
        self._label = self._column(data.labels)
        self._target = None if data.target is None else self._column(data.target)
        self._group = None if (group := group_index(data)) is None else self._column(group)
        self._weight = None
        if "weight" in data.columns:
            weight = np.asarray(data.column("weight"), dtype=np.float32)
            if not np.isfinite(weight).all() or (weight < 0).any():
                bad = int(np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))[0])
                raise BadData(f"The weight of {data.ids[bad]!r} is {weight[bad]}.", "Give finite weights from 0.")
            self._weight = self._column(weight)
        self._pixels = self._in_memory()

    def _column(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.array(values)).to(self.device)

    def _in_memory(self) -> Tensor | None:
        """All images of this view as uint8 ``[N, C, H, W]``, if they are in memory already."""
        parts = _arrays(self.data.source)
        if parts is None or not len(self.data):
            return None
        shapes = {part.image.shape[1:] for part in parts}
        height, width = self.size or next(iter(shapes))[:2]
        if any(shape[:2] != (height, width) for shape in shapes):
            if self.size is None:
                raise BadData(
                    f"The images have {len(shapes)} different sizes.",
                    "Give size=(height, width); on the command line --size HxW.",
                )
            read, rows = self.data.source.read, self.data.rows
            image = np.stack([resized(read(int(row)), self.size, self.fit) for row in rows])
        elif len(shapes) == 1 and len(parts) == 1:
            image = parts[0].image[self.data.rows]
        else:
            starts = np.cumsum([0, *(len(part) for part in parts)])
            place = np.searchsorted(starts, self.data.rows, side="right") - 1
            image = np.empty((len(self.data), height, width, 3), dtype=np.uint8)
            for number, part in enumerate(parts):
                here = np.flatnonzero(place == number)
                image[here] = part.gather(self.data.rows[here] - starts[number])
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
        return pixels.to(self.device) if pixels.numel() <= RESIDENT else pixels

    def batches(self, plan: Sequence[NDArray[np.int64]], start: int = 0) -> Iterator[tuple[int, Batch, bool]]:
        """The batches of an epoch from number ``start`` on: its number, the batch, and whether it is the last.

        Images that cannot be read are left out (see :meth:`ImageSet.stream`), with their batch if all are bad.
        """
        if self._pixels is not None:
            for number in range(start, len(plan)):
                index = torch.from_numpy(plan[number])
                index = index if self.device.type == "cpu" else index.to(self.device)
                yield number, self._batch(index, self._pixels), number == len(plan) - 1
            return
        waiting: tuple[int, Batch] | None = None
        for number, rows, pixels in self._decoded(plan, start):
            if waiting is not None:
                yield *waiting, False
            waiting = number, self._batch(torch.from_numpy(rows).to(self.device), torch.from_numpy(pixels), whole=False)
        if waiting is not None:
            yield *waiting, True

    def _decoded(
        self, plan: Sequence[NDArray[np.int64]], start: int
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
        asked: deque[tuple[int, NDArray[np.int64]]] = deque()

        def order() -> Iterator[list[int]]:
            for number in range(start, len(plan)):
                asked.append((number, plan[number]))
                yield plan[number].tolist()

        for rows, pixels in self.data.stream(size=self.size, fit=self.fit, workers=self.workers, order=order()):
            number, planned = asked.popleft()
            while rows[0] not in planned:  # every image of that batch was bad: it never comes
                number, planned = asked.popleft()
            yield number, rows, pixels

    def _batch(self, index: Tensor, pixels: Tensor, *, whole: bool = True) -> Batch:
        if whole:
            image = pixels.index_select(0, index if pixels.device == index.device else index.to(pixels.device))
            image = image.to(self.device, torch.float32)
        else:
            image = pixels.to(self.device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        image = image.div_(255.0)
        if image.shape[1] == 1:
            image = image.repeat(1, 3, 1, 1)
        return Batch(
            image,
            self._label.index_select(0, index),
            index,
            None if self._target is None else self._target.index_select(0, index),
            None if self._weight is None else self._weight.index_select(0, index),
            None if self._group is None else self._group.index_select(0, index),
        )

    def walk(self, batch_size: int) -> Iterator[Batch]:
        """Once over the set, in order."""
        rows = np.arange(len(self.data))
        for _, batch, _ in self.batches(np.split(rows, range(batch_size, len(rows), batch_size))):
            yield batch


def _arrays(source: Source) -> list[ArraySource] | None:
    """The arrays a source consists of, or None when it must be decoded."""
    if isinstance(source, ArraySource):
        return [source]
    if isinstance(source, Joined):
        parts = [_arrays(part) for part in source.parts]
        if all(part is not None for part in parts):
            return [array for part in parts for array in part or []]
    return None
