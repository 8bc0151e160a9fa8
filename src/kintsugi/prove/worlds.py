"""Worlds for trials: real images with a shortcut whose place is known, some groups of which training never shows."""

from __future__ import annotations

from typing import Protocol

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


class Digits:
    """Handwritten digits 3 and 8 on crops of two photographs; everything ships with scikit-learn."""

    name, attribute = "digits", "background"
    title = "scikit-learn's handwritten digits 3 and 8 on crops of its two sample photographs, 16 pixels"

    def __init__(self) -> None:
        self._world = DigitsOnPhotos()
        self.size, self.classes = self._world.size, self._world.classes

    def pool(self, n: int, minority: float, seed: int) -> ImageSet:
        """Training images for teachers and generators."""
        return self._world.mixed(n, minority, "pool", seed)

    def student(self, n: int, seed: int) -> ImageSet:
        """The class tied to the background."""
        return self._world.mixed(n, 0.0, "pool", seed)

    def missing(self, n: int, seed: int) -> ImageSet:
        """The two other groups."""
        return self._world.mixed(n, 1.0, "pool", seed)

    def every_group(self, part: str) -> ImageSet:
        """100 digits a group to test on, 24 in 4 renderings to validate on."""
        return self._world.every_group(part, 0, times=1 if part == "test" else 4)


WORLDS = {"digits": Digits}
