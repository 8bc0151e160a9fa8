"""Evidence for `jpeg`: see :mod:`kintsugi.prove.corrupted`."""

from __future__ import annotations

from functools import partial

from kintsugi.core.errors import one_of
from kintsugi.prove.corrupted import corruption_trial
from kintsugi.prove.seeded import Seeded
from kintsugi.stress.corrupt.jpeg import JPEG


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return corruption_trial("jpeg", partial(JPEG, "224"))
