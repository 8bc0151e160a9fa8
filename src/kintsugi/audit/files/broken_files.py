"""Names files that cannot be read and images unlike the rest in size, shape, brightness or sharpness, in one pass.

No paper: measures every photographer knows, each with one limit. A picture is blank when its grey values hardly vary,
dark (bright) when all but its lightest (darkest) twentieth lies at one end, blurred when its finest detail (the
Laplacian, in units of its own contrast) is far below what the other images of the set have. Size and shape are odd
against the set's medians. Every score is 1 / (1 + r) for a measure r in units of its limit, so that 0.5 is the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="broken_files",
    kind="auditor",
    title="Files that cannot be read, and images that are blank, dark, blurred or of an odd size",
    paper="none: plain image statistics",
    card=0,
)

LONGEST = 256  # side to which larger images are reduced before they are measured
CROWD = 20  # readable images from which the set has a usual size and sharpness


@dataclass(frozen=True)
class BrokenFiles:
    """Checks the images themselves.

    Args:
        blank: standard deviation of grey, in shares of the range, below which an image is blank.
        dark: 95% quantile of grey below which an image is dark; 1 - this is where the 5% quantile makes it bright.
        blur: sharpness in shares of the set's median below which an image is blurred.
        size: factor between an image's side (root of its area) and the median side from which its size is odd.
        aspect: factor between an image's aspect ratio and the median ratio from which its shape is odd.
    """

    blank: float = 0.01
    dark: float = 0.12
    blur: float = 0.1
    size: float = 4.0
    aspect: float = 2.5

    def __post_init__(self) -> None:
        for name in ("blank", "dark", "blur"):
            require(0 < getattr(self, name) < 0.5, name, getattr(self, name), "a share between 0 and 0.5")
        for name in ("size", "aspect"):
            require(getattr(self, name) > 1, name, getattr(self, name), "a factor above 1")

    def __call__(
        self,
        data: ImageSet,
        outputs: Outputs | None,  # noqa: ARG002 - every auditor is called alike
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Findings:
        """Measure every image once, at its own size; neither outputs nor chance are needed."""
        rows, measured = [], []
        with task("check files", len(data)) as tracker:
            for (row,), (image,) in data.stream(1):
                rows.append(int(row))
                measured.append(_measures(image))
                tracker.advance()
        seen = np.array(measured, dtype=np.float64).reshape(len(rows), 6)
        found = [*_unreadable(data), *self._odd(data, np.array(rows, dtype=np.int64), seen)]
        flagged = len({name for row in found for name in row.ids})
        notes = (f"{len(rows)} of {len(data)} images were read.",)
        if len(rows) < CROWD:
            notes += (f"Fewer than {CROWD} images: size, shape and sharpness were not compared.",)
        params = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Findings.of(found, CARD.name, params, Summary(0.5, float(flagged), None, notes))

    def _odd(self, data: ImageSet, rows: NDArray[np.int64], seen: NDArray[np.float64]) -> list[Finding]:
        width, height, spread, light, shade, sharp = seen.T
        checks: list[tuple[str, NDArray[np.float64], str]] = [
            ("blank", spread / self.blank, "its grey values hardly vary"),
            ("dark", light / self.dark, "nearly all of it is black"),
            ("bright", (1 - shade) / self.dark, "nearly all of it is white"),
        ]
        if len(rows) >= CROWD:
            side, ratio = np.sqrt(width * height), width / height
            alive = sharp[(spread >= self.blank) & (sharp > 0)]
            usual = float(np.median(alive)) if len(alive) else 0.0
            checks += [
                ("odd_size", self.size / _factor(side), f"the median side is {np.median(side):.0f} pixels"),
                ("odd_aspect", self.aspect / _factor(ratio), f"the median ratio is {np.median(ratio):.2f}"),
            ]
            if usual > 0:
                blurred = np.where(spread >= self.blank, sharp / (self.blur * usual), np.inf)
                checks.append(("blurred", blurred, "it has far less detail than the others"))
        found = []
        for name, relative, why in checks:
            for i in np.flatnonzero(relative <= 1):
                row = int(rows[i])
                numbers = dict(
                    zip(("width", "height", "contrast", "light", "shade", "sharpness"), seen[i], strict=True)
                )
                found.append(
                    Finding(
                        subject="sample",
                        ids=(data.ids[row],),
                        score=float(1 / (1 + relative[i])),
                        flagged=True,
                        check=name,
                        suggestion="drop" if name == "blank" else "review",
                        why=f"{name.replace('_', ' ')} ({width[i]:.0f} x {height[i]:.0f}): {why}",
                        evidence={key: float(value) for key, value in numbers.items()},
                    )
                )
        return found


def _measures(image: NDArray[np.uint8]) -> tuple[float, ...]:
    """Width, height, contrast, 95% and 5% quantiles of grey (shares of the range), sharpness."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image).convert("L")
    if (factor := max(height, width) // LONGEST) > 1:
        picture = picture.reduce(factor)
    grey = np.asarray(picture, dtype=np.float32) / 255
    spread = float(np.ptp(image.reshape(-1, 3), axis=0).max() / 255 if grey.std() == 0 else grey.std())
    shade, light = np.quantile(grey, [0.05, 0.95])
    sharp = 0.0
    if min(grey.shape) >= 3 and spread > 0:
        inner = grey[1:-1, 1:-1]
        detail = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
        sharp = float(detail.std() / spread)
    return float(width), float(height), spread, float(light), float(shade), sharp


def _factor(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many times above or below the median, at least 1."""
    relative = value / np.median(value)
    return np.maximum(relative, 1 / relative)


def _unreadable(data: ImageSet) -> list[Finding]:
    """One finding a bad file, however often it was met."""
    met: dict[str, Any] = {}
    for problem in data.problems:
        met.setdefault(problem.id, problem)
    return [
        Finding(
            subject="sample",
            ids=(name,),
            score=1.0,
            flagged=True,
            check="unreadable",
            suggestion="drop",
            why=f"{problem.where}: {problem.reason}" + (f" ({problem.detail})" if problem.detail else ""),
            evidence={"where": problem.where, "reason": problem.reason},
        )
        for name, problem in met.items()
    ]
