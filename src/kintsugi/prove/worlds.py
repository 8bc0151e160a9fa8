"""Worlds for trials: real images with a shortcut whose place is known, some groups of which training never shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kintsugi.data.compose.cast_photos import CastPhotos
from kintsugi.data.compose.coloured_fashion import ColouredFashion
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.compose.paired import Paired
from kintsugi.data.imageset import ImageSet

DEAL = 1  # the demo has deal 0


@dataclass(frozen=True)
class World:
    """What a trial of a repair needs.

    Attributes:
        name: short.
        title: what is in the images, in words.
        attribute: column of the shortcut.
        composer: renders them.
        times: renderings of each original in the validation part, where originals are few.
    """

    name: str
    title: str
    attribute: str
    composer: Paired
    times: int = 1

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.composer.size

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.composer.classes

    def pool(self, n: int, minority: float, seed: int) -> ImageSet:
        """Training images for teachers and generators; a share ``minority`` is of the groups students never see."""
        return self.composer.mixed(n, minority, "pool", seed)

    def student(self, n: int, seed: int) -> ImageSet:
        """Training images of the student: the shortcut always holds."""
        return self.pool(n, 0.0, seed)

    def missing(self, n: int, seed: int) -> ImageSet:
        """Training images of the groups the student never sees."""
        return self.pool(n, 1.0, seed)

    def every_group(self, part: str) -> ImageSet:
        """What accuracy by group is measured on: ``valid`` or ``test``."""
        return self.composer.every_group(part, 0, times=self.times if part == "valid" else 1)


def digits(deal: int = DEAL, classes: tuple[tuple[int, ...], tuple[int, ...]] = ((3,), (8,))) -> World:
    """Handwritten digits on crops of two photographs; everything ships with scikit-learn.

    100 digits a group to test on, 24 in 4 renderings to validate on.
    """
    composer = DigitsOnPhotos(classes=classes, deal=deal)
    title = f"scikit-learn's handwritten digits {' and '.join(composer.classes)} on crops of its two sample photographs"
    return World("digits", f"{title}, 16 pixels, deal {deal}", "background", composer, times=4)


def pairs() -> list[World]:
    """The ten digits as five pairs of neighbours, none of them the pair that settings were chosen on."""
    return [digits(classes=((k,), (k + 1,))) for k in range(0, 10, 2)]


def fashion() -> World:
    """Trousers and dresses on a red or green ground; 500 garments a group to test on, 200 to validate on."""
    title = "Fashion-MNIST's trousers and dresses on a red or a green ground, 16 pixels"
    return World("fashion", title, "ground", ColouredFashion())


def photos() -> World:
    """Automobiles and horses in warm or cold light; 200 photographs a group to test on, 150 to validate on."""
    title = "CIFAR-10's automobiles and horses under a warm or a cold light, 24 pixels"
    return World("photos", title, "cast", CastPhotos())


WORLDS: dict[str, Callable[[], World]] = {"digits": digits, "fashion": fashion, "photos": photos}
