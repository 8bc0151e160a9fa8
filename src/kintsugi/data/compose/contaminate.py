"""Contaminating a clean set as audits are judged by: images that do not belong, copies, wrong labels, alone or mixed.

The protocol of SelfClean (Groeger et al., NeurIPS 2024): a share of 5% or 10% of each kind is planted and the truth is
kept. Images that do not belong are foreign ones or heavily blurred ones; copies are turned, cropped to 50..90%,
mirrored and blurred, or carry a watermark, a mosaic or a colour bar; labels are flipped to another class. What is added
stands behind the clean images, copies with their original's label, foreign images with one drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.data.compose.plant import wrong_labels
from kintsugi.data.imageset import ImageSet
from kintsugi.data.stream import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

KINDS = ("labels", "copies", "marked", "foreign", "blurred")


@dataclass(frozen=True)
class Truth:
    """What was planted, for the samples of the contaminated set.

    Attributes:
        off_topic: bool ``[N]``, foreign and heavily blurred images.
        wrong: bool ``[N]``, labels that were flipped, and copies that took them over.
        pairs: ids of each original and its copy.
    """

    off_topic: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    pairs: tuple[tuple[str, str], ...]


def contaminate(
    data: ImageSet,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    *,
    foreign: Sequence[Picture] | Picture | None = None,
) -> tuple[ImageSet, Truth]:
    """Plant faults.

    Args:
        data: the clean set, every image readable.
        shares: of the clean set's size, 0..1, by kind: ``labels`` (flipped), ``copies`` (turned, cropped, mirrored,
            blurred), ``marked`` (copies with a watermark, a mosaic or a colour bar), ``foreign``, ``blurred``.
        rng: for which samples and how they change.
        foreign: images uint8 ``[H, W(, 3)]`` to draw from without repeating one, brought to the size of the clean
            images beside which they are put; needed for ``foreign``.

    Returns:
        The contaminated set and the truth.

    Raises:
        BadArgument: a kind or share is not allowed.
        BadData: there are fewer foreign images than asked for.
    """
    for kind, share in shares.items():
        require(kind in KINDS, "shares", kind, "kinds out of " + ", ".join(KINDS))
        require(0 <= share <= 1, "shares", share, "shares from 0 to 1")
    asked = {kind: round(share * len(data)) for kind, share in shares.items()}
    made, wrong = data, np.zeros(len(data), dtype=bool)
    if asked.get("labels"):
        made, wrong = wrong_labels(data, shares["labels"], rng)
    added: list[tuple[str, str, Picture, int]] = []  # kind, original's id, image, label
    for kind, change in (("copies", changed_copy), ("marked", marked_copy), ("blurred", heavily_blurred)):
        for row in rng.permutation(len(data))[: asked.get(kind, 0)]:
            image = change(data[int(row)].image, rng)
            added.append((kind, data.ids[int(row)], image, int(made.labels[row])))
    if asked.get("foreign"):
        if foreign is None:
            raise BadArgument("There are no foreign images to plant:", "give foreign=.")
        if len(foreign) < asked["foreign"]:
            raise BadData(f"There are {len(foreign)} foreign images for {asked['foreign']} asked:", "give more.")
        for number in rng.permutation(len(foreign))[: asked["foreign"]]:
            beside = data[int(rng.integers(len(data)))]
            image = _rgb(resized(foreign[int(number)], beside.image.shape[:2], "squash"))
            label = int(rng.integers(len(data.classes))) if len(data.classes) else -1
            added.append(("foreign", "", image, label))
    return _joined(made, wrong, added)


def changed_copy(image: Picture, rng: np.random.Generator) -> Picture:
    """Turned by up to 30 degrees, cropped to 50..90% of the area, mirrored either way, blurred: each in half of all."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    turned, cropped, left_right, up_down, blurred = rng.random(5) < 0.5
    if not (turned or cropped or left_right or up_down or blurred):
        cropped = True
    if turned:
        border = tuple(int(v) for v in image.reshape(-1, image.shape[-1]).mean(axis=0))
        picture = picture.rotate(rng.uniform(-30, 30), Image.Resampling.BILINEAR, fillcolor=border)
    if cropped:
        side = float(np.sqrt(rng.uniform(0.5, 0.9)))
        wide, high = max(1, round(side * width)), max(1, round(side * height))
        left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
        picture = picture.crop((left, top, left + wide, top + high)).resize((width, height), Image.Resampling.BILINEAR)
    if left_right:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if up_down:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if blurred:
        picture = picture.filter(ImageFilter.GaussianBlur(0.02 * min(height, width)))
    return np.asarray(picture)


def marked_copy(image: Picture, rng: np.random.Generator) -> Picture:
    """With a half-transparent checked watermark, a mosaic patch or a colour bar at top or bottom, drawn at random."""
    made = image.copy()
    height, width = image.shape[:2]
    kind = int(rng.integers(3))
    if kind == 2:
        thick = max(1, round(0.1 * height))
        bar = np.repeat(rng.integers(0, 256, (1, 8, 3)), -(-width // 8), axis=1)[:, :width]
        top = 0 if rng.random() < 0.5 else height - thick
        made[top : top + thick] = bar
        return made
    high, wide = max(1, round(0.35 * height)), max(1, round(0.35 * width))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    part = made[top : top + high, left : left + wide]
    if kind == 0:
        checks = (np.add.outer(np.arange(high) * 6 // high, np.arange(wide) * 6 // wide) % 2)[..., None] * 255.0
        part[:] = np.rint(0.5 * part + 0.5 * checks)
    else:
        cell = max(2, min(high, wide) // 3)
        rows, columns = np.arange(high) // cell * cell, np.arange(wide) // cell * cell
        part[:] = part[rows[:, None], columns[None]]
    return made


def heavily_blurred(image: Picture, rng: np.random.Generator) -> Picture:
    """Blurred until nothing can be made out: a standard deviation of 15..25% of the short side."""
    spread = rng.uniform(0.15, 0.25) * min(image.shape[:2])
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(spread)))


def _joined(
    data: ImageSet, wrong: NDArray[np.bool_], added: list[tuple[str, str, Picture, int]]
) -> tuple[ImageSet, Truth]:
    """The clean images, and behind them what was added, by size (one array holds one)."""
    parts, off_topic = [data], [np.zeros(len(data), dtype=bool)]
    wrongs, pairs = [wrong], []
    place = {name: number for number, name in enumerate(data.ids)}
    for shape in dict.fromkeys(image.shape for _, _, image, _ in added):
        here = [(number, one) for number, one in enumerate(added) if one[2].shape == shape]
        names = [f"{kind}-{number:05d}" for number, (kind, *_) in here]
        part = ImageSet.from_arrays(
            np.stack([one[2] for _, one in here]), [one[3] for _, one in here], data.classes, id=names
        )
        parts.append(part)
        off_topic.append(np.array([kind in ("foreign", "blurred") for _, (kind, *_) in here]))
        copied = [kind in ("copies", "marked") for _, (kind, *_) in here]
        wrongs.append(np.array([copy and wrong[place[one[1]]] for copy, (_, one) in zip(copied, here, strict=True)]))
        pairs += [(one[1], name) for copy, name, (_, one) in zip(copied, names, here, strict=True) if copy]
    whole: Any = ImageSet.concat(parts) if added else data
    return whole, Truth(np.concatenate(off_topic), np.concatenate(wrongs).astype(bool), tuple(pairs))


def _rgb(image: Picture) -> Picture:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
