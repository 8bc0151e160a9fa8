"""Worlds for trials: real images with a shortcut whose place is known, some groups of which training never shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kintsugi.data.compose.coloured_fashion import ColouredFashion
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.imageset import ImageSet


class World(Protocol):
    """What a trial of a repair needs.

    Attributes:
        name: short.
        title: what is in the images, in words.
        size: side of the images.
        classes: class names.
        attribute: column of the shortcut.
    """

    name: str
    title: str
    size: int
    classes: tuple[str, ...]
    attribute: str

    def pool(self, n: int, minority: float, seed: int) -> ImageSet:
        """Training images for teachers and generators; a share ``minority`` is of the groups students never see."""

    def student(self, n: int, seed: int) -> ImageSet:
        """Training images of the student: the shortcut always holds."""

    def missing(self, n: int, seed: int) -> ImageSet:
        """Training images of the groups the student never sees."""

    def every_group(self, part: str) -> ImageSet:
        """What accuracy by group is measured on: ``valid`` or ``test``."""


class _Composed:
    """A world over a composer with ``mixed`` and ``every_group``."""

    def __init__(self, composer: Any) -> None:
        self._composer = composer
        self.size: int = composer.size
        self.classes: tuple[str, ...] = composer.classes

    def pool(self, n: int, minority: float, seed: int) -> ImageSet:
        """Training images for teachers and generators."""
        made: ImageSet = self._composer.mixed(n, minority, "pool", seed)
        return made

    def student(self, n: int, seed: int) -> ImageSet:
        """The class tied to the shortcut."""
        return self.pool(n, 0.0, seed)

    def missing(self, n: int, seed: int) -> ImageSet:
        """The two other groups."""
        return self.pool(n, 1.0, seed)


class Digits(_Composed):
    """Handwritten digits 3 and 8 on crops of two photographs; everything ships with scikit-learn."""

    name, attribute = "digits", "background"
    title = "scikit-learn's handwritten digits 3 and 8 on crops of its two sample photographs, 16 pixels"

    def __init__(self) -> None:
        super().__init__(DigitsOnPhotos())

    def every_group(self, part: str) -> ImageSet:
        """100 digits a group to test on, 24 in 4 renderings to validate on."""
        made: ImageSet = self._composer.every_group(part, 0, times=1 if part == "test" else 4)
        return made


class Fashion(_Composed):
    """Trousers and dresses of Fashion-MNIST on a red or green ground; from ``KINTSUGI_DATA``."""

    name, attribute = "fashion", "ground"
    title = "Fashion-MNIST's trousers and dresses on a red or a green ground, 16 pixels"

    def __init__(self) -> None:
        super().__init__(ColouredFashion())

    def every_group(self, part: str) -> ImageSet:
        """500 garments a group to test on, 200 to validate on."""
        made: ImageSet = self._composer.every_group(part, 0)
        return made


WORLDS: dict[str, Callable[[], World]] = {"digits": Digits, "fashion": Fashion}
