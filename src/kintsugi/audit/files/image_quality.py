"""Images that stand out by their quality among those beside them: dark, bright, blurred, empty, grey, of odd shape.

One pass at a small size takes the measures of :mod:`kintsugi.audit.files.measures`. Their limits are not numbers for
all data: copies of a sample of these very images are given each defect at a stated strength (stops of light, blur in
shares of the side, ...), and the limit t is where

    (share of the copies past t) - (share of the images past t) / most

is largest: it moves in as long as it finds copies faster than it flags images. Where it is nowhere above 0, what the
copies look like is usual here, and the check says that it cannot tell. What is dark on purpose no image can say, so how
many are truly bad is left open.

Sizes and shapes come from the headers: odd is what fewer than ``rare`` of the other images come within a factor of, so
that two cameras are two usual sizes. An image is grey among colours when fewer than one in ten are.

CleanVision (Cleanlab, 2022) has the same questions with fixed limits; `broken_files` too has fixed ones, for files that
no data set wants. The measure of blur, the planting and the rule for sizes are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.files.measures import MEASURES, measure, planted
from kintsugi.core.card import Card
from kintsugi.core.errors import require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.data.source import BadImage, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

    Floats = NDArray[np.float64]

CARD = Card(
    name="image_quality",
    kind="auditor",
    title="Images that are dark, bright, blurred, empty, grey or oddly shaped beside the others",
    paper="questions as in CleanVision, Cleanlab (2022); the calibration is ours",
    card=0,
    code="https://github.com/cleanlab/cleanvision",
    status="proven",
    settings=(("cifar", "proven"),),
)

SIDES = (16, 128)  # smallest and largest side that images are looked at
FEWEST = 20  # images below which nothing can be called unusual
GREY = 0.5  # levels that the channels of a grey image lie apart at most
FEW_GREY = 0.1  # share of grey images from which they are usual

# check, measure, whether low values are bad, planted defect, parameter with its strength
LIMITS = (
    ("dark", "light", True, "dark", "under"),
    ("bright", "unclipped", True, "overexposed", "over"),
    ("bright", "shade", False, "washed out", "contrast"),
    ("blurry", "detail", True, "blurred", "blur"),
    ("low_information", "entropy", True, "patch", "patch"),
    ("low_information", "detail", False, "noise", "noise"),
)
WORDS = {
    "light": "99% of its pixels stay below {:.2f} of white",
    "unclipped": "only {:.0%} of its pixels are not white",
    "shade": "95% of its pixels lie above {:.2f} of white",
    "entropy": "its levels hold {:.1f} bits",
    "detail": "its fine detail over its edges is {:.2f}",
}


@dataclass(frozen=True)
class ImageQuality:
    """Finds images of unusual quality.

    Args:
        under: stops of light that dark copies have less.
        over: stops of light that overexposed copies have more (white grounds have as many white pixels as 4 make).
        contrast: what is left of it in washed-out copies.
        blur: standard deviation of the copies' blur in shares of the side.
        patch: share of the copies that one colour covers.
        noise: standard deviation of the grain that copies are replaced by.
        most: share of the images that may be flagged to find all copies.
        odd: factor by which the side, or the ratio of the sides, must differ from the usual ones.
        rare: share of the images below which a size is unusual.
        sample: images that are copied.
    """

    under: float = 4.0
    over: float = 5.0
    contrast: float = 0.15
    blur: float = 0.03
    patch: float = 0.9
    noise: float = 0.2
    most: float = 0.1
    odd: float = 2.0
    rare: float = 0.05
    sample: int = 200

    def __post_init__(self) -> None:
        for name in ("contrast", "patch", "most", "rare"):
            require(0 < getattr(self, name) < 1, name, getattr(self, name), "a share between 0 and 1")
        for name in ("under", "over"):
            require(0 < getattr(self, name) < np.inf, name, getattr(self, name), "a number above 0")
        for name in ("blur", "noise"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "a number above 0, to 1")
        require(1 < self.odd < np.inf, "odd", self.odd, "a factor above 1")
        require(self.sample >= FEWEST, "sample", self.sample, f"{FEWEST} images or more")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit every image; flagged ones alone are listed, an image once for each check."""
        shapes = _shapes(data)
        short = shapes.min(axis=1, initial=np.inf)
        known = np.isfinite(short)
        side = int(np.clip(np.quantile(short[known], 0.25), *SIDES)) if known.any() else SIDES[0]
        wanted = np.zeros(len(data), dtype=bool)
        wanted[rng.permutation(len(data))[: self.sample]] = True
        values, copied, held = np.full((len(data), len(MEASURES)), np.nan), [], []
        with task("measure the images", len(data)) as tracker:
            for rows, image in data.stream(64, size=(side, side), fit="squash", ahead=False):
                values[rows] = measure(image)
                held.append(image[wanted[rows]])
                copied.append(rows[wanted[rows]])
                tracker.advance(len(rows))
        seen = np.isfinite(values[:, 0])
        notes = [f"{int((~seen).sum())} images could not be read and were left out."] if not seen.all() else []
        if seen.sum() < FEWEST:
            notes.append(f"Cannot tell what is unusual among {int(seen.sum())} images: {FEWEST} are needed.")
            return self._findings([], notes)
        values[short < side, MEASURES.index("detail")] = np.nan  # enlarged, which is what took its detail away
        found = list(self._odd(data, np.where(seen[:, None], shapes, np.nan)))
        found += self._grey(data, values, notes)
        sample, rows_of = np.concatenate(held), np.concatenate(copied)
        if len(sample) < FEWEST:
            notes.append(
                f"Cannot tell where the limits lie: only {len(sample)} of the images to be copied can be read."
            )
            return self._findings(found, notes)
        stored = np.nan_to_num(shapes[rows_of], nan=side).astype(np.int64)
        found += self._limited(data, values, sample, stored, rng, notes)
        notes.append("Cannot tell how many are truly bad: an image does not say what was meant to be dark or blurred.")
        return self._findings(found, notes)

    def _findings(self, found: list[Finding], notes: list[str]) -> Findings:
        return Findings.of(found, CARD.name, vars(self), Summary(0.5, None, None, tuple(notes)))

    def _limited(
        self,
        data: ImageSet,
        values: Floats,
        sample: NDArray[np.uint8],
        shapes: NDArray[np.int64],
        rng: np.random.Generator,
        notes: list[str],
    ) -> list[Finding]:
        worst: dict[tuple[str, int], Finding] = {}
        for check, name, low, defect, parameter in LIMITS:
            column, strength = MEASURES.index(name), getattr(self, parameter)
            sign = 1.0 if low else -1.0
            copies = measure(planted(sample, shapes, defect, strength, rng))[:, column] * sign
            own, copies = values[:, column] * sign, copies[np.isfinite(copies)]
            if not len(copies) or not np.isfinite(own).any():
                notes.append(f"Cannot tell {check} images ({defect}): they have no {name} to go by.")
                continue
            limit, hits = self._limit(own[np.isfinite(own)], copies)
            past = np.flatnonzero(own < limit).tolist()
            if not hits:
                notes.append(f"Cannot tell {check} images: copies made {defect} look as many of these images do.")
                continue
            found = f"of copies made {defect} ({parameter} {strength:g}) {hits:.0%} are"
            notes.append(f"{check}: {len(past):,} images are past {sign * limit:.3g}; {found}.")
            reach = max(abs(limit - float(np.quantile(copies, 0.1))), 1e-9)  # 1 is where the worst tenth lies
            for row in past:
                value = float(values[row, column])
                why = f"{data.ids[row]} is {check.replace('_', ' in ')}: " + WORDS[name].format(value)
                score = 0.5 + 0.5 * min(1.0, float(limit - own[row]) / reach)
                finding = _finding(data.ids[row], check, score, why, {name: value, "limit": sign * limit})
                if score > getattr(worst.get((check, row)), "score", 0.0):
                    worst[check, row] = finding
        return list(worst.values())

    def _limit(self, own: Floats, copies: Floats) -> tuple[float, float]:
        """Value below which an image is bad, and the share of the copies that lie there."""
        tried = np.nextafter(np.unique(copies), np.inf)  # equal values are past it
        hits = np.searchsorted(np.sort(copies), tried) / len(copies)
        gain = hits - np.searchsorted(np.sort(own), tried) / len(own) / self.most
        best = int(gain.argmax())
        return (float(tried[best]), float(hits[best])) if gain[best] > 0 else (-np.inf, 0.0)

    def _grey(self, data: ImageSet, values: Floats, notes: list[str]) -> Iterator[Finding]:
        colour, entropy = (values[:, MEASURES.index(name)] for name in ("colour", "entropy"))
        seen = entropy > 0.0  # an image of one level has no colours to miss
        grey = seen & (colour <= GREY)
        share = float(grey.sum() / max(1, seen.sum()))
        if share >= FEW_GREY:
            notes.append(f"{share:.0%} of the images are grey, so that none is odd for it.")
            return
        for row in np.flatnonzero(grey):
            why = f"{data.ids[row]} is grey, as are {share:.1%} of these images"
            yield _finding(data.ids[row], "grey", 1 - share / (2 * FEW_GREY), why, {"share": share})

    def _odd(self, data: ImageSet, shapes: Floats) -> Iterator[Finding]:
        height, width = shapes.T
        facts = {"size": np.log(height * width) / 2, "shape": np.log(width / height)}
        seen = np.flatnonzero(np.isfinite(height))
        for name, fact in facts.items():
            value = fact[seen]
            order, far = np.sort(value), np.log(self.odd)
            near = np.searchsorted(order, value + far, "right") - np.searchsorted(order, value - far, "left") - 1
            odd = near < self.rare * (len(seen) - 1)
            usual = np.sort(value[~odd])
            for row, own in zip(seen[odd], value[odd], strict=True):
                place = np.searchsorted(usual, own)
                away = np.abs(usual[max(0, place - 1) : place + 1] - own).min(initial=np.inf)
                why = f"{data.ids[row]} is {width[row]:.0f} x {height[row]:.0f}, a {name} few others have"
                score = 1 - 0.5 * min(1.0, far / max(away, 1e-9))
                facts_of = {"height": int(height[row]), "width": int(width[row])}
                yield _finding(data.ids[row], f"odd_{name}", float(score), why, facts_of)


def _shapes(data: ImageSet) -> Floats:
    """(height, width) as stored, float ``[N, 2]``, NaN where the header cannot be read."""
    shapes = np.full((len(data), 2), np.nan)
    with task("read sizes", len(data)) as tracker:
        for row, place in enumerate(data.rows.tolist()):
            with suppress(BadImage):  # the pass over the pixels meets it too, and records it
                shapes[row] = shape_of(data.source, place)
            tracker.advance()
    return shapes


def _finding(name: str, check: str, score: float, why: str, evidence: dict[str, Any]) -> Finding:
    return Finding("sample", (name,), float(np.clip(score, 0.0, 1.0)), True, check, "review", why, evidence)
