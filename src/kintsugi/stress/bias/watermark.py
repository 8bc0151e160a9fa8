"""A watermark: six glyphs across the image, at one place, half transparent. A cue that has nothing to do with a class.

Li et al., "A Whac-A-Mole Dilemma", CVPR 2023, arXiv 2212.04825, ImageNet-W: white, opacity 0.5, at (0.01 W, 0.4 H),
font size 36 at 224 pixels, 62 at 384, 82 at 512, else the width over 6.22. Planted on every image it probes whether a
model leans on watermarks (ImageNet models answer "carton" more often); planted on one class in training it is a cue.

Deviations. The paper writes six Chinese characters, for which a font is needed; ours are six signs of our own, drawn
from strokes inside the same squares, with the same reach and about the same share of ink. Effects on published models
can therefore differ from the paper's. The mark is drawn on the image as it is stored, before any cutting: of a wide
photograph that is cut square its left end may be lost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import picture_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.source import Problem, Source

CARD = Card(
    name="watermark",
    kind="bias",
    title="a half-transparent watermark at a fixed place",
    paper="Li et al., A Whac-A-Mole Dilemma: Shortcuts Come in Multiples Where Mitigating One Amplifies Others, "
    "CVPR 2023, arXiv 2212.04825",
    card=40,
    code="facebookresearch/Whac-A-Mole",
    status="proven",
)

FONT_SIZES = {224: 36.0, 384: 62.0, 512: 82.0}
# Six signs: strokes as chains of points (x, y) in the unit square.
GLYPHS: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.1, 0.2), (0.9, 0.2)), ((0.5, 0.05), (0.5, 0.95)), ((0.5, 0.45), (0.12, 0.85)), ((0.5, 0.45), (0.88, 0.85))),
    (((0.15, 0.1), (0.85, 0.1), (0.85, 0.9), (0.15, 0.9), (0.15, 0.1)), ((0.15, 0.5), (0.85, 0.5))),
    (((0.08, 0.3), (0.92, 0.3)), ((0.3, 0.05), (0.2, 0.92)), ((0.7, 0.05), (0.8, 0.92)), ((0.1, 0.65), (0.9, 0.65))),
    (((0.5, 0.05), (0.1, 0.5)), ((0.5, 0.05), (0.9, 0.5)), ((0.2, 0.55), (0.8, 0.55)), ((0.5, 0.35), (0.5, 0.95))),
    (((0.1, 0.12), (0.9, 0.12), (0.45, 0.5), (0.9, 0.9), (0.1, 0.9)), ((0.1, 0.35), (0.1, 0.7))),
    (((0.25, 0.05), (0.25, 0.95)), ((0.25, 0.3), (0.9, 0.15)), ((0.25, 0.6), (0.9, 0.6)), ((0.65, 0.2), (0.65, 0.95))),
)


@dataclass(frozen=True)
class Watermark:
    """Plants the mark on a share of the samples, as a view that draws when an image is read.

    Args:
        opacity: above 0, to 1.
        share: of the samples (of ``classes``) that get the mark, above 0, to 1; the count is exact.
        classes: names of the classes to mark; None marks all.
        x: left end, as a share of the width.
        y: upper end, as a share of the height.

    Raises:
        BadArgument: a value is not allowed.
    """

    opacity: float = 0.5
    share: float = 1.0
    classes: tuple[str, ...] | None = None
    x: float = 0.01
    y: float = 0.4

    def __post_init__(self) -> None:
        for name in ("opacity", "share"):
            require(0.0 < getattr(self, name) <= 1.0, name, getattr(self, name), "a number above 0, at most 1")
        for name in ("x", "y"):
            require(0.0 <= getattr(self, name) < 1.0, name, getattr(self, name), "a number from 0 to below 1")
        ok = self.classes is None or (not isinstance(self.classes, str) and len(self.classes) > 0)
        require(ok, "classes", self.classes, "a tuple of class names, or None for all")

    def __call__(self, data: ImageSet, rng: np.random.Generator) -> ImageSet:
        """A view with the mark in the images.

        Args:
            data: the images; labels are needed only with ``classes``.
            rng: which samples, when ``share`` is below 1.

        Returns:
            Same ids, labels and columns, and a column ``watermark`` (whether the sample has it), to group by.

        Raises:
            BadArgument: a class is not one of the data's.
        """
        chosen = np.ones(len(data), dtype=bool)
        if self.classes is not None:
            unknown = [name for name in self.classes if name not in data.classes]
            if unknown:
                raise BadArgument.of("classes", unknown[0], "names among " + ", ".join(data.classes[:20]))
            chosen = np.isin(data.labels, [data.classes.index(name) for name in self.classes])
        rows = np.flatnonzero(chosen)
        marked = np.zeros(len(data), dtype=bool)
        marked[rng.permutation(rows)[: round(self.share * len(rows))]] = True
        source = _Marked(data.source, data.rows, marked, self)
        view = ImageSet(source, data.table, data.classes, problems=data.problems)
        return view.with_column("watermark", marked)

    def alpha(self, height: int, width: int) -> NDArray[np.float32]:
        """How opaque the mark is at each pixel, float32 ``[height, width]`` in 0..opacity."""
        top, band = _band(height, width, self.x, self.y)
        whole = np.zeros((height, width), dtype=np.float32)
        whole[top : top + len(band)] = self.opacity * band
        return whole

    def draw(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images uint8 ``[..., H, W, 3]`` with the mark, as a copy."""
        top, band = _band(*image.shape[-3:-1], self.x, self.y)
        alpha = (self.opacity * band)[..., None]
        made, part = image.copy(), slice(top, top + len(band))
        made[..., part, :, :] = np.rint(image[..., part, :, :] * (1.0 - alpha) + 255.0 * alpha)
        return made


class _Marked:
    """A source that draws the mark when an image is read; its rows are the rows of the image set."""

    def __init__(self, inner: Source, rows: NDArray[np.int64], marked: NDArray[np.bool_], mark: Watermark) -> None:
        self.inner, self.rows, self.marked, self.mark = inner, rows, marked, mark

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> str:
        """Of the images beneath, which of them are marked, and how."""
        digest = hashlib.blake2b(f"{self.inner.fingerprint}+{self.mark!r}".encode(), digest_size=16)
        digest.update(self.rows.tobytes())
        digest.update(self.marked.tobytes())
        return digest.hexdigest()

    @property
    def notes(self) -> dict[int, Problem]:
        """The notes of the source beneath, by our rows."""
        found: dict[int, Problem] = getattr(self.inner, "notes", {})
        return {row: found[int(inner)] for row, inner in enumerate(self.rows) if int(inner) in found}

    def read(self, row: int) -> NDArray[np.uint8]:
        image = self.inner.read(int(self.rows[row]))
        return self.mark.draw(image) if self.marked[row] else image

    def picture(self, row: int, enough: tuple[int, int] | None = None) -> Image.Image:
        """As :meth:`read`, shrunk on loading where the source beneath can: the mark scales with the picture."""
        picture = picture_of(self.inner, int(self.rows[row]), enough)
        return Image.fromarray(self.mark.draw(np.asarray(picture))) if self.marked[row] else picture

    @property
    def gather(self) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None:
        """Many images at once, where the source beneath can."""
        return self._gather if getattr(self.inner, "gather", None) is not None else None

    def _gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        inner: Any = self.inner
        image = inner.gather(self.rows[rows])
        touched = self.marked[rows]
        made = np.array(image)
        made[touched] = self.mark.draw(image[touched])
        return made


@lru_cache(maxsize=64)
def _band(height: int, width: int, x: float, y: float) -> tuple[int, NDArray[np.float32]]:
    """The rows the strokes reach into: the first of them, and the share of each pixel that strokes cover."""
    side = FONT_SIZES.get(width, width / 6.22)
    fine = 8 if side <= 128 else 2  # drawn so many times larger, then averaged
    top, bottom = int(y * height), min(height, int(np.ceil(y * height + side)) + 1)
    canvas = Image.new("L", (fine * width, fine * (bottom - top)))
    pen = ImageDraw.Draw(canvas)
    for number, glyph in enumerate(GLYPHS):
        left, upper = x * width + number * side, y * height - top
        for chain in glyph:
            points = [(fine * (left + side * px), fine * (upper + side * py)) for px, py in chain]
            pen.line(points, fill=255, width=max(1, round(fine * side * 0.09)), joint="curve")
    drawn = np.asarray(canvas.reduce(fine), dtype=np.float32) / 255.0
    drawn.setflags(write=False)
    return top, drawn


@dataclass(frozen=True)
class CartonGap:
    """How a model answers to the mark (card 40's IN-W gap and Carton gap).

    Attributes:
        change: accuracy with the mark minus accuracy without, in shares; a model that leans on marks has it negative.
        attracts: the class whose share of all answers rises the most (ImageNet models: carton), by index.
        pull: by how much that share rises.
        gain: by how much that class's own accuracy rises; NaN when no sample is of that class.
    """

    change: float
    attracts: int
    pull: float
    gain: float


def carton_gap(clean: Outputs, marked: Outputs, labels: NDArray[np.int64]) -> CartonGap:
    """Compare what a model says without and with the mark.

    Args:
        clean: outputs on the data.
        marked: outputs on the same samples with the mark.
        labels: int64 ``[N]``, -1 where unknown (left out of the accuracies).

    Raises:
        BadData: the samples or classes differ, or no label is known.
    """
    if list(clean.id) != list(marked.id) or clean.prob.shape != marked.prob.shape or len(labels) != len(clean.id):
        raise BadData(
            f"Outputs of shapes {clean.prob.shape} and {marked.prob.shape} for {len(labels)} labels are not paired:",
            "give the same samples in the same order.",
        )
    labels, known = np.asarray(labels), np.asarray(labels) >= 0
    if not known.any():
        raise BadData("No sample has a label:", "a change of accuracy needs some.")
    right = [(said.predicted == labels) for said in (clean, marked)]
    shares = [np.bincount(said.predicted, minlength=said.prob.shape[1]) / len(labels) for said in (clean, marked)]
    rise = shares[1] - shares[0]
    attracts = int(rise.argmax())
    own = labels == attracts
    gain = float(right[1][own].mean() - right[0][own].mean()) if own.any() else float("nan")
    return CartonGap(float(right[1][known].mean() - right[0][known].mean()), attracts, float(rise[attracts]), gain)
