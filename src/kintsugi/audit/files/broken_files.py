"""One pass over the images: those nobody can read, and those that show too little or are unlike the others in shape.

Measures on a copy of at most 64 x 64, as CleanVision (Cleanlab, 2022) takes them: dark when the 99th percentile of
luminance is low, bright when the 5th is high, blank when luminance hardly varies, blurred when the variance of its
Laplacian is small (ours: in units of luminance's own variance, so that a dark or faint image is not blurred for being
so). Sizes come from the headers: odd when an image is many times larger or smaller than the median. The thresholds are
ours: fixed, conservative, and meant to be looked at.

An image that is small to begin with is measured as it is, and never called blurred: that limit is one for 64 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.data.source import shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="broken_files",
    kind="auditor",
    title="unreadable, dark, bright, blank, blurred and oddly shaped images",
    paper="measures as in CleanVision, Cleanlab (2022)",
    card=0,
    code="cleanlab/cleanvision",
    status="proven",
    settings=(("photos", "proven"),),
)
SIDE = 64
LUMA = np.array([299, 587, 114], dtype=np.float32)  # thousandths, ITU-R BT.601
WHITE = 255_000.0  # luminance of white: up to 2^24 single precision holds whole numbers exactly


@dataclass(frozen=True)
class BrokenFiles:
    """Find images that cannot be used as they are.

    Args:
        dark: 99th percentile of luminance (0..1) below which an image is dark.
        bright: 5th percentile of luminance above which it is bright.
        blank: standard deviation of luminance below which it is blank.
        blurred: variance of the Laplacian over that of luminance below which it is blurred.
        odd: factor by which area or aspect may differ from the median's.
    """

    dark: float = 0.15
    bright: float = 0.95
    blank: float = 0.004
    blurred: float = 0.02
    odd: float = 10.0

    def __post_init__(self) -> None:
        for name in ("dark", "bright", "blank", "blurred"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a number from 0 to 1")
        require(self.odd > 1, "odd", self.odd, "a factor above 1")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit every image; the table lists flagged images alone, with their measures."""
        found = []
        measures = np.full((len(data), 4), np.nan)
        with task("look at images", len(data)) as tracker:
            for rows, image in data.stream(64, size=(SIDE, SIDE), fit="squash", enlarge=False, mixed=True, ahead=False):
                measures[rows] = measure(image)
                tracker.advance(len(rows))
        shapes = _shapes(data, np.isfinite(measures[:, 0]))
        small = shapes.min(axis=1) < SIDE
        limits = {
            "dark": (measures[:, 0], self.dark, False),
            "bright": (measures[:, 1], self.bright, True),
            "blank": (measures[:, 2], self.blank, False),
            "blurred": (np.where(small, np.inf, measures[:, 3]), self.blurred, False),
        }
        for check, (value, limit, above) in limits.items():
            past = value > limit if above else value < limit
            for row in np.flatnonzero(past):
                if check != "blank" and measures[row, 2] < self.blank:
                    continue  # a blank image is dark or blurred too: say it once
                part = (value[row] - limit) / (1 - limit) if above else (limit - value[row]) / limit
                why = f"{data.ids[row]} is {check}: {value[row]:.3g}, limit {limit:g}"
                found.append(_finding(data.ids[row], check, 0.5 + 0.5 * float(part), why, {check: float(value[row])}))
        found += self._odd(data, shapes)
        found += _unreadable(data)
        broken = int(np.isnan(measures[:, 0]).sum())
        note = f"{broken} of {len(data)} images cannot be read."
        return Findings.of(found, CARD.name, vars(self), Summary(0.5, float(len(found)), None, (note,)))

    def _odd(self, data: ImageSet, shapes: NDArray[np.float64]) -> list[Finding]:
        if not np.isfinite(shapes).any():
            return []
        found = []
        facts = {"size": np.log(shapes.prod(axis=1)), "aspect": np.log(shapes[:, 1] / shapes[:, 0])}
        for name, value in facts.items():
            away = np.abs(value - np.nanmedian(value)) / np.log(self.odd)
            for row in np.flatnonzero(away > 1):
                height, width = shapes[row]
                why = f"{data.ids[row]} is {width:.0f} x {height:.0f}, an odd {name} among these images"
                score = float(1 - 0.5 / away[row])
                found.append(_finding(data.ids[row], f"odd_{name}", score, why, {"height": height, "width": width}))
        return found


def measure(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """99th and 5th percentile and standard deviation of luminance in 0..1, and its Laplacian's relative variance.

    Args:
        image: uint8 ``[B, H, W, 3]``.

    Returns:
        float ``[B, 4]``.
    """
    luma = (image.reshape(-1, 3).astype(np.float32) @ LUMA).reshape(image.shape[:3])
    flat = luma.reshape(len(luma), -1)
    spread = np.sqrt(_variance(flat)) / WHITE
    laplacian = -4 * luma[:, 1:-1, 1:-1]
    for part in (luma[:, :-2, 1:-1], luma[:, 2:, 1:-1], luma[:, 1:-1, :-2], luma[:, 1:-1, 2:]):
        laplacian += part
    rough = _variance(laplacian.reshape(len(luma), -1)) / WHITE**2 / np.maximum(spread, 1e-6) ** 2
    flat = np.sort(flat, axis=1)
    return np.stack([_quantile(flat, 0.99) / WHITE, _quantile(flat, 0.05) / WHITE, spread, rough], axis=1)


def _variance(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row, exact enough that a row of equal numbers has none; of no numbers none either."""
    count = max(1, values.shape[1])
    mean = values.sum(axis=1, dtype=np.float64) / count
    return np.maximum(np.einsum("bp,bp->b", values, values, dtype=np.float64) / count - mean**2, 0)


def _quantile(ordered: NDArray[np.float32], share: float) -> NDArray[np.float64]:
    """Of each sorted row, between the two nearest values in proportion."""
    place = share * (ordered.shape[1] - 1)
    low, part = int(place), place % 1
    near = ordered[:, low : low + 2].astype(np.float64)
    return near[:, 0] + part * (near[:, -1] - near[:, 0])


def _shapes(data: ImageSet, readable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(height, width) of the readable images, float ``[N, 2]``, NaN for the others."""
    shapes = np.full((len(data), 2), np.nan)
    for row in np.flatnonzero(readable):
        shapes[row] = shape_of(data.source, int(data.rows[row]))
    return shapes


def _unreadable(data: ImageSet) -> list[Finding]:
    here = set(data.ids)
    return [
        _finding(problem.id or problem.where, "unreadable", 1.0, f"{problem.where}: {problem.reason}. {problem.detail}")
        for problem in data.problems
        if not problem.kept and (problem.id in here or not problem.id)
    ]


def _finding(name: str, check: str, score: float, why: str, evidence: dict[str, Any] | None = None) -> Finding:
    suggestion = "drop" if check in ("unreadable", "blank") else "review"
    return Finding("sample", (name,), min(1.0, score), True, check, suggestion, why.strip(), evidence or {})
