"""What the checks on neighbours start from: one vector an image, from an encoder or from a model's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.errors import BadArgument

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet


def vectors(check: str, data: ImageSet, outputs: Outputs | None, encoder: Encoder | None) -> NDArray[np.float32]:
    """Vectors float32 ``[N, D]`` by the encoder, or else ``outputs.features``; NaN where an image cannot be read.

    Raises:
        BadArgument: there is neither; ``check`` is who asks.
    """
    if encoder is not None:
        from kintsugi.models.cache import embed

        return embed(encoder, data) if len(data) else np.zeros((0, 1), np.float32)
    if outputs is None or outputs.features is None:
        raise BadArgument(f"{check} needs features:", "give an encoder, or outputs with features.")
    return np.asarray(outputs.take(data.ids).features, dtype=np.float32)


def usable(found: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which vectors are finite and have a direction, bool ``[N]``."""
    return np.asarray(np.isfinite(found).all(axis=1) & (found != 0).any(axis=1))
