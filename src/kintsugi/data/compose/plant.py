"""Planting faults whose place is known: wrong labels and near duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import require
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from numpy.typing import NDArray


def wrong_labels(data: ImageSet, share: float, rng: np.random.Generator) -> tuple[ImageSet, NDArray[np.bool_]]:
    """Give a share of the samples another class, drawn uniformly.

    Args:
        data: every sample labelled, two classes or more.
        share: 0..1; the count is exact.
        rng: for which samples and which classes.

    Returns:
        The relabelled view, and bool ``[N]`` telling which labels are wrong now.
    """
    require(0.0 <= share <= 1.0, "share", share, "a share from 0 to 1")
    require(len(data.classes) > 1, "data", len(data.classes), "data of two classes or more")
    wrong = np.zeros(len(data), dtype=bool)
    wrong[rng.permutation(len(data))[: round(share * len(data))]] = True
    step = rng.integers(1, len(data.classes), size=len(data))
    return data.relabel(np.where(wrong, (data.labels + step) % len(data.classes), data.labels)), wrong


def near_duplicates(
    data: ImageSet, count: int, rng: np.random.Generator, *, gain: float = 0.1, noise: float = 0.02
) -> tuple[ImageSet, list[tuple[str, str]]]:
    """Append changed copies of some samples: another exposure (gain) and fresh sensor noise.

    Args:
        data: images of one size.
        count: copies to add, of distinct samples.
        rng: for which samples and how they change.
        gain: largest relative change of brightness.
        noise: standard deviation of the noise, in units of the full range.

    Returns:
        The longer set, and the planted pairs of ids (original, copy).
    """
    require(0 <= count <= len(data), "count", count, f"a number from 0 to {len(data)}")
    chosen = rng.permutation(len(data))[:count]
    if not count:
        return data, []
    pixels = np.stack([data[int(row)].image for row in chosen]).astype(np.float64)
    pixels *= 1.0 + rng.uniform(-gain, gain, size=(count, 1, 1, 1))
    pixels += 255.0 * noise * rng.standard_normal(pixels.shape)
    copies = data.select(chosen)
    names = [f"{name}-copy" for name in copies.ids]
    added = ImageSet.from_arrays(
        np.clip(np.rint(pixels), 0, 255).astype(np.uint8), copies.labels, data.classes, id=names
    )
    for name in data.columns:
        if name not in ("id", "label"):
            added = added.with_column(name, copies.table.column(name))
    return ImageSet.concat([data, added]), list(zip(copies.ids, names, strict=True))
