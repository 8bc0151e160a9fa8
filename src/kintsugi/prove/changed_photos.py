"""Photographs of ImageNet and copies of them, changed once or by several changes, for trials of looking for copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.data.given import given_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PHOTOS = "imagenet_photos_500_short256.zip"
SIDE = 256


def changed_photos(
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.str_]]:
    """200 photographs, 130 copies, whose copy each is, and how it was made."""
    import io
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(given_file(PHOTOS)) as held:
        names = sorted(name for name in held.namelist() if name.endswith(".jpg"))
        chosen = [names[row] for row in rng.permutation(len(names))[:200]]
        opened = [Image.open(io.BytesIO(held.read(name))).convert("RGB") for name in chosen]
    base = []
    for image in opened:
        left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
        base.append(image.crop((left, top, left + SIDE, top + SIDE)))
    kinds = [*(kind for kind in CHANGES for _ in range(10)), *(kind for kind in COMPOSITIONS for _ in range(20))]
    source = rng.permutation(len(base))[: len(kinds)]
    made = [{**CHANGES, **COMPOSITIONS}[kind](base[row], rng) for kind, row in zip(kinds, source, strict=True)]
    return np.stack([np.asarray(x) for x in base]), np.stack([np.asarray(x) for x in made]), source, np.array(kinds)


def _cut_out(image: Any, side: float, rng: np.random.Generator) -> Any:
    size = round(SIDE * side)
    top, left = (int(v) for v in rng.integers(0, SIDE - size + 1, 2))
    return image.crop((left, top, left + size, top + size)).resize((SIDE, SIDE), 3)


def _jpeg(image: Any, low: int, high: int, rng: np.random.Generator) -> Any:
    import io

    from PIL import Image

    held = io.BytesIO()
    image.save(held, "JPEG", quality=int(rng.integers(low, high)))
    return Image.open(held).convert("RGB")


def _overlay(image: Any, rng: np.random.Generator) -> Any:
    from PIL import ImageDraw

    made = image.copy()
    left, top = (int(v) for v in rng.integers(0, SIDE - 76, 2))
    draw = ImageDraw.Draw(made)
    draw.rectangle((left, top, left + 75, top + 40), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    draw.text((left + 5, top + 5), "SAMPLE", fill=(255, 255, 255))
    return made


def _coloured(image: Any, rng: np.random.Generator) -> Any:
    from PIL import Image

    made = np.asarray(image) * rng.uniform(0.6, 1.4, 3) + rng.uniform(-25, 25)
    return Image.fromarray(np.clip(made, 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "crop": lambda image, rng: _cut_out(image, 0.7, rng),
    "flip": lambda image, _: image.transpose(0),
    "rotation": lambda image, rng: image.rotate(float(rng.uniform(5, 15) * rng.choice([-1, 1])), 3),
    "re-encoding": lambda image, rng: _jpeg(image, 10, 40, rng),
    "resize": lambda image, _: image.resize((96, 96), 2).resize((SIDE, SIDE), 2),
    "overlay": _overlay,
    "colour": _coloured,
}
COMPOSITIONS: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "small crop": lambda image, rng: _cut_out(image, 0.4**0.5, rng),
    "right angle": lambda image, rng: image.rotate(int(rng.choice([90, 180, 270]))),
    "flip, overlay, re-encoding": lambda image, rng: _jpeg(_overlay(image.transpose(0), rng), 20, 50, rng),
}
