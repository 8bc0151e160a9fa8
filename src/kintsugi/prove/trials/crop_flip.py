"""Evidence for `crop_flip`: see :mod:`kintsugi.prove.few_photos`. Shifts alone: a mirrored 3 is no 3."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kintsugi.prove.few_photos import few_photos_trial
from kintsugi.repair.augment.crop_flip import CropFlip

if TYPE_CHECKING:
    from kintsugi.prove.seeded import Seeded


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    make = partial(CropFlip, pad=2, flip=0.0, fill="reflect")
    return few_photos_trial("crop_flip", make, setting, "shifts by up to 2 pixels, reflected border, no mirror images")
