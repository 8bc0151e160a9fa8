"""Scikit-learn's handwritten digits on crops of its two sample photographs: two classes, two backgrounds, four groups.

The class is the shape of the digit, the background is the shortcut. Every piece is real; only their pairing is ours.
Digits of the parts `pool`, `valid` and `test` are disjoint, and so are the tiles of the photographs they stand on:
each photograph is cut like a chessboard, white tiles serve the test part, black ones the others.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.errors import one_of, require
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.paired import PARTS, Paired
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PHOTOS = ("temple", "flower")  # scikit-learn's china.jpg and flower.jpg


class DigitsOnPhotos(Paired):
    """Renders sets of images from digits and photographs.

    Args:
        size: image side in pixels.
        classes: the digits merged into each class.
        valid: distinct digits a class kept for validation.
        test: distinct digits a class kept for the test.
        deal: which dealing of the digits into parts; another number deals them anew.
        scale: factor by which the photographs are reduced before cropping.
        dim: brightness factor of the background, so that white ink stays readable.
        glyph: smallest and largest side of a digit in pixels.
        ink: smallest and largest opacity of the ink.
    """

    def __init__(
        self,
        size: int = 16,
        classes: tuple[tuple[int, ...], tuple[int, ...]] = ((3,), (8,)),
        *,
        valid: int = 24,
        test: int = 100,
        deal: int = 0,
        scale: float = 1.0,
        dim: float = 0.6,
        glyph: tuple[int, int] = (12, 13),
        ink: tuple[float, float] = (0.8, 1.0),
    ) -> None:
        require(8 <= glyph[0] <= glyph[1] <= size, "glyph", glyph, f"a range within 8..{size}")
        require(len(set(classes[0]) & set(classes[1])) == 0, "classes", classes, "two disjoint sets of digits")
        self.size, self.dim, self.glyph, self.ink = size, dim, glyph, ink
        self.classes = tuple(" or ".join(map(str, members)) for members in classes)
        self._digits = [_deal(members, valid, test, deal) for members in classes]
        self._tiles = [_tiles(photo, scale) for photo in PHOTOS]

    def make(
        self, label: Sequence[int], shortcut: Sequence[int], part: str, seed: int, *, in_order: bool = False
    ) -> ImageSet:
        """One image for each pair of label and background.

        Args:
            label: class (0 or 1) of each image.
            shortcut: photograph (0 or 1) behind each.
            part: whose digits and tiles to use: ``pool``, ``valid`` or ``test``.
            seed: for digit, tile, place, size and ink.
            in_order: walk through the part's digits in order, each once, instead of drawing them.

        Returns:
            Columns ``background`` (name of the photograph) and ``digit`` (which handwritten digit: renderings of
            one digit are not independent, and tests resample digits).
        """
        one_of("part", part, PARTS)
        rng = numpy_rng(seed, "digits-on-photos", part)
        images, sources, used = [], [], [0, 0]
        for k, place in zip(label, shortcut, strict=True):
            numbers, glyphs = self._digits[k][part]
            pick = used[k] % len(numbers) if in_order else int(rng.integers(len(numbers)))
            used[k] += 1
            images.append(self._render(glyphs[pick], self._tiles[place][part], rng))
            sources.append(f"digit-{numbers[pick]:04d}")
        return ImageSet.from_arrays(
            np.stack(images),
            np.asarray(label),
            self.classes,
            id=[f"{part}-{seed}-{number:05d}" for number in range(len(images))],
            background=[PHOTOS[place] for place in shortcut],
            digit=sources,
        )

    def distinct(self, k: int, part: str) -> int:
        """Handwritten digits of class ``k`` in a part."""
        return len(self._digits[k][part][0])

    def _render(
        self, glyph: NDArray[np.float32], tiles: list[NDArray[np.uint8]], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        side = self.size
        tile = tiles[int(rng.integers(len(tiles)))]
        top, left = (int(rng.integers(extent - side + 1)) for extent in tile.shape[:2])
        ground = tile[top : top + side, left : left + side].astype(np.float32) * self.dim
        height = int(rng.integers(self.glyph[0], self.glyph[1] + 1))
        drawn = Image.fromarray(glyph).resize((height, height), Image.Resampling.BICUBIC)
        y, x = (int(value) for value in rng.integers(side - height + 1, size=2))
        alpha = np.zeros((side, side, 1), dtype=np.float32)
        alpha[y : y + height, x : x + height, 0] = np.clip(np.asarray(drawn), 0.0, 1.0) * rng.uniform(*self.ink)
        return np.rint(ground * (1 - alpha) + 255.0 * alpha).astype(np.uint8)


@cache
def _raw_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    raw: Any = load_digits()
    return (raw.images / 16.0).astype(np.float32), raw.target.astype(np.int64)


def _deal(
    members: tuple[int, ...], valid: int, test: int, deal: int
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    images, target = _raw_digits()
    numbers = numpy_rng(deal, "deal", *members).permutation(np.flatnonzero(np.isin(target, members)))
    require(
        valid + test < len(numbers), "test", test, f"with valid={valid} fewer than the class's {len(numbers)} digits"
    )
    parts = {"test": numbers[:test], "valid": numbers[test : test + valid], "pool": numbers[test + valid :]}
    return {part: (rows, images[rows]) for part, rows in parts.items()}


@cache
def _photo(name: str, scale: float) -> NDArray[np.uint8]:
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image({"temple": "china.jpg", "flower": "flower.jpg"}[name]))
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    return np.asarray(small)


def _tiles(name: str, scale: float, rows: int = 4, columns: int = 6) -> dict[str, list[NDArray[np.uint8]]]:
    photo = _photo(name, scale)
    height, width = photo.shape[0] // rows, photo.shape[1] // columns
    parts: dict[str, list[NDArray[np.uint8]]] = {part: [] for part in PARTS}
    black = 0
    for row in range(rows):
        for column in range(columns):
            tile = photo[row * height : (row + 1) * height, column * width : (column + 1) * width]
            if (row + column) % 2:
                parts["test"].append(tile)
            else:
                parts["valid" if black % 4 == 1 else "pool"].append(tile)
                black += 1
    return parts
