"""Small images and folders of them, for the tests of this room."""

from io import BytesIO

import numpy as np
from PIL import Image


def image(number: int, height: int = 12, width: int = 16) -> np.ndarray:
    """A picture that tells its number: smooth colours, so that JPEG keeps them."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [(y * 9 + number * 37) % 256, (x * 7 + number * 53) % 256, np.full_like(x, (number * 97) % 256)]
    return np.stack(channels, axis=2).astype(np.uint8)


def encoded(array: np.ndarray, codec: str = "PNG", **options) -> bytes:
    held = BytesIO()
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    picture.save(held, codec, **options)
    return held.getvalue()


def put(path, content: bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def class_folders(root, names=("cat", "dog"), each=3):
    """``cat/0.png`` ... with a different picture in each."""
    number = 0
    for name in names:
        for k in range(each):
            put(root / name / f"{k}.png", encoded(image(number)))
            number += 1
    return root


def reasons(data) -> dict[str, str]:
    """Where and why something was left out or noted."""
    return {problem.where: problem.reason for problem in data.problems}
