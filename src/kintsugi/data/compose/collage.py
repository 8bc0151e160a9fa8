"""Images of several things, composed of single ones: every valid label is known, and nothing else is in the image.

After PatchML of Anzaku et al., "Re-assessing ImageNet", 2024: objects cut out along their boxes stand side by side, so
that context, which could speak for one label alone, is gone. Cells of a grid are drawn by chance; what is left empty is
grey. The classes in one image differ, so an image of n patches has n valid labels; the single label, as a data set that
allows one would have it, is that of a patch drawn by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.errors import BadData, require
from kintsugi.data.imageset import ImageSet
from kintsugi.data.label_sets import LabelSets

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PatchCollage:
    """Composes collages.

    Args:
        patch: objects of one size, uint8 ``[N, h, w]`` or ``[N, h, w, 3]``.
        label: their classes int ``[N]``.
        classes: class names.
        grid: rows and columns of cells.
        ground: grey level of what is left empty.
    """

    def __init__(
        self,
        patch: NDArray[np.uint8],
        label: NDArray[Any],
        classes: Sequence[str],
        *,
        grid: tuple[int, int] = (2, 2),
        ground: int = 0,
    ) -> None:
        require(
            patch.ndim in (3, 4) and patch.dtype == np.uint8, "patch", patch.shape, "uint8 [N, h, w] or [N, h, w, 3]"
        )
        require(min(grid) >= 1, "grid", grid, "rows and columns from 1")
        require(0 <= ground <= 255, "ground", ground, "a grey level from 0 to 255")
        require(len(label) == len(patch), "label", len(label), f"one class for each of the {len(patch)} patches")
        self.patch, self.label = patch, np.asarray(label, dtype=np.int64)
        self.classes, self.grid, self.ground = tuple(classes), grid, ground

    @classmethod
    def of_boxes(
        cls, data: ImageSet, boxes: Sequence[tuple[int, int, int, int] | None], side: int, **options: Any
    ) -> PatchCollage:
        """Cut patches out of images; ``(x1, y1, x2, y2)`` in pixels, both ends inside, or None to leave one out."""
        kept = [i for i, box in enumerate(boxes) if box is not None and data.labels[i] >= 0]
        if not kept:
            raise BadData("No image has a box and a label:", "give boxes (x1, y1, x2, y2).")
        patches = []
        for i in kept:
            x1, y1, x2, y2 = boxes[i]  # type: ignore[misc]
            cut = data[i].image[y1 : y2 + 1, x1 : x2 + 1]
            if not cut.size:
                raise BadData(f"The box {boxes[i]} of {data.ids[i]!r} is empty or outside its image.", "Correct it.")
            patches.append(np.asarray(Image.fromarray(cut).resize((side, side), Image.Resampling.BILINEAR)))
        return cls(np.stack(patches), data.labels[kept], data.classes, **options)

    def make(self, number: Sequence[int] | NDArray[Any], rng: np.random.Generator) -> ImageSet:
        """One image for each number of patches; columns ``label_sets`` and ``patches`` (how many).

        Args:
            number: patches of each image, from 1 to the cells of the grid.
            rng: for classes, patches, cells and the single label.
        """
        count = np.asarray(number, dtype=np.int64)
        present = np.unique(self.label)
        rows, columns = self.grid
        most = min(len(present), rows * columns)
        require(bool(((count >= 1) & (count <= most)).all()), "number", number, f"numbers from 1 to {most}")
        members = {int(k): np.flatnonzero(self.label == k) for k in present}
        h, w = self.patch.shape[1:3]
        image = np.full((len(count), rows * h, columns * w, *self.patch.shape[3:]), self.ground, dtype=np.uint8)
        single, sets = np.empty(len(count), dtype=np.int64), []
        for i, n in enumerate(count):
            mine = rng.permutation(present)[:n]
            cells = rng.permutation(rows * columns)[:n]
            for k, cell in zip(mine.tolist(), cells.tolist(), strict=True):
                y, x = divmod(cell, columns)
                image[i, y * h : (y + 1) * h, x * w : (x + 1) * w] = self.patch[rng.choice(members[k])]
            single[i] = mine[rng.integers(n)]
            sets.append(sorted(mine.tolist()))
        made = ImageSet.from_arrays(image, single, self.classes, patches=count)
        return made.with_column("label_sets", LabelSets.of(sets).to_column())
