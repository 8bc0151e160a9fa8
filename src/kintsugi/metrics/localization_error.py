"""Overlap of boxes, and the single-object localisation error of the ImageNet challenge.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, section 4.2: a guess is a class
and a box; it is right if the class is the image's and the box overlaps one of that class's boxes by at least half
(intersection over union). An image's error is 0 if any of its first k guesses is right, else 1. Boxes are ``x1 y1 x2
y2`` in pixels with both ends inside, so a box of one pixel has side 1 and not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require
from kintsugi.metrics.cells import estimate
from kintsugi.ops.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def as_boxes(boxes: ArrayLike, what: str = "boxes") -> NDArray[np.float64]:
    """Boxes as float64 ``[N, 4]``.

    Raises:
        BadData: a box is no box.
    """
    made = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    bad = np.flatnonzero(~np.isfinite(made).all(axis=1) | (made[:, 2] < made[:, 0]) | (made[:, 3] < made[:, 1]))
    if len(bad):
        raise BadData(f"{what} {made[bad[0]].tolist()} is no box:", "give x1 y1 x2 y2, x1 <= x2 and y1 <= y2.")
    return made


def overlap(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair, float64 ``[N, M]``; both ends of a box are inside it.

    Args:
        first: boxes ``[N, 4]``.
        second: boxes ``[M, 4]``.
    """
    a, b = as_boxes(first), as_boxes(second)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)
    area = [(c[:, 2:] - c[:, :2] + 1).prod(axis=1) for c in (a, b)]
    return np.asarray(shared / (area[0][:, None] + area[1][None, :] - shared), dtype=np.float64)


def localization_error(
    guesses: Sequence[Sequence[tuple[int, Sequence[float]]]],
    label: ArrayLike,
    boxes: Sequence[ArrayLike],
    *,
    k: int = 5,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Share of images none of whose first k guesses names the class and finds an object of it.

    Args:
        guesses: (class, box) of each image, best first.
        label: class of each image, int ``[N]``.
        boxes: the boxes of that class in each image, ``[n_i, 4]``, at least one.
        k: guesses that count.
        threshold: overlap from which a box is found.

    Returns:
        The error under ``value`` with its interval, and ``class_error``, that of the classes alone.

    Raises:
        BadData: an image has no box, or the lengths differ.
    """
    y = np.asarray(label, dtype=np.int64)
    require(k >= 1, "k", k, "1 or more")
    require(0 < threshold <= 1, "threshold", threshold, "an overlap above 0, to 1")
    if not len(y) or not len(guesses) == len(y) == len(boxes):
        raise BadData(f"{len(guesses)} guesses, {len(y)} labels and {len(boxes)} sets of boxes:", "give one an image.")
    wrong = np.ones((2, len(y)), dtype=bool)
    for i, (said, true) in enumerate(zip(guesses, boxes, strict=True)):
        held = as_boxes(true)
        if not len(held):
            raise BadData(f"Image {i} has no box of its class.", "Leave it out: it cannot be localised.")
        mine = [box for c, box in said[:k] if c == y[i]]
        wrong[:, i] = not mine, not mine or float(overlap(mine, held).max()) < threshold
    made = []
    for part, rule in ((wrong[1], "class and box"), (wrong[0], "class")):
        low, high = wilson(int(part.sum()), len(y))
        made.append(
            estimate(
                float(part.mean()),
                (float(low), float(high)),
                f"mean over images of whether none of the first {k} guesses has the {rule} right",
            )
        )
    return {**made[0], "count": len(y), "class_error": made[1]}
