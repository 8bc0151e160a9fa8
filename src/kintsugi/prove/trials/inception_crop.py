"""Evidence for `inception_crop`: see :mod:`kintsugi.prove.few_photos`. No mirror images: a mirrored 3 is no 3.

Not proven. The digits fill most of the image and a crop cuts into them; `crop_flip`, whose shifts keep the size, gains
0.02 in the same trial. Photographs of things at every distance, which it was made for, are not among the data we ship.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kintsugi.prove.few_photos import few_photos_trial
from kintsugi.repair.augment.inception_crop import InceptionCrop

if TYPE_CHECKING:
    from kintsugi.prove.seeded import Seeded


def trial(setting: str = "") -> Seeded:
    """``validation`` for the validation part."""
    return few_photos_trial(
        "inception_crop",
        partial(InceptionCrop, area=0.6, flip=0.0),
        setting,
        "60% to 100% of the area, no mirror images",
    )
