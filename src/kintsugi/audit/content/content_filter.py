"""Filters images for what must not be in them, cheap detectors first, and says how much is left by an audited sample.

Asano, Rupprecht, Zisserman and Vedaldi, "PASS: An ImageNet replacement for self-supervised pretraining without humans",
NeurIPS 2021 Datasets and Benchmarks, arXiv:2109.13228. Their PASSify runs a face detector first, a costlier person
detector on what remains, and then people; so does this: each stage sees only what the earlier ones let through, and
counts are kept by stage. Detectors alone do not guarantee absence, so a part of what is kept is drawn at random for
people to look at; of n looked at with k found, the residual rate has the exact interval of Clopper and Pearson (1934).
The order changes what a removal is credited to and what it costs, never which images are removed.

What they showed (their README; not repeated here): a linear probe on ImageNet of MoCo-v2 pretrained without humans
reaches 59.5 where ImageNet pretraining reaches 60.6; `pretraining_comparison` measures the same price on one's own
data. Who made an image, under which licence, and what was removed in which version is kept by
:class:`~kintsugi.audit.content.licence_manifest.LicenceManifest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.models.predict import as_images, batches, evaluating
from kintsugi.ops.statistics import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import ContentDetector
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="content_filter",
    kind="auditor",
    title="Images with content that must not be there, by detectors in stages, and the rate that is left",
    paper="Asano et al., PASS: An ImageNet replacement for self-supervised pretraining without humans, NeurIPS 2021",
    card=108,
    code="https://github.com/yukimasano/PASS",
    needs=("detectors",),
    status="not proven",
)

ORDERS = ("cheap_first", "given")


@dataclass(frozen=True)
class Stage:
    """What one detector did.

    Attributes:
        name: of the detector.
        seen: images it was shown.
        removed: of them removed.
    """

    name: str
    seen: int
    removed: int


@dataclass(frozen=True)
class Filtered:
    """What the stages did.

    Attributes:
        score: probability that the content is there by the last stage an image was shown to, float64 ``[N]``; NaN for
            images that could not be read.
        stage: stage that removed each image, int64 ``[N]``; -1 for those kept, -2 for those nobody could read.
        stages: in the order they ran.
    """

    score: NDArray[np.float64]
    stage: NDArray[np.int64]
    stages: tuple[Stage, ...]


class ContentFilter:
    """Finds images to remove.

    Args:
        detectors: what to look for, and how.
        order: ``cheap_first`` (by ``cost``), or as ``given``.
        threshold: probability from which an image is removed: one for all detectors, or one each, in the order given.
        sample: images drawn at random from those kept, for people to look at.
        reviewed: what people saw in images of that sample, by id: whether the content is there.
        batch_size: images at a time.

    Findings are the images to remove (``drop``), what each stage did, and the sample to look at (``review``). The rate
    that is left is known once people have looked: give what they saw as ``reviewed`` and call again with the same seed.
    """

    def __init__(
        self,
        detectors: Sequence[ContentDetector] = (),
        *,
        order: Literal["cheap_first", "given"] = "cheap_first",
        threshold: float | Sequence[float] = 0.5,
        sample: int = 500,
        reviewed: Mapping[str, bool] | None = None,
        batch_size: int = 64,
    ) -> None:
        one_of("order", order, ORDERS)
        cuts = [float(threshold)] * len(detectors) if isinstance(threshold, int | float) else list(threshold)
        allowed = "a probability above 0, for all detectors or one each"
        require(len(cuts) == len(detectors), "threshold", threshold, allowed)
        cuts_ok = all(0 < cut <= 1 for cut in (cuts or np.ravel(threshold).tolist()))
        require(cuts_ok, "threshold", threshold, allowed)
        require(sample >= 1, "sample", sample, "at least 1 image")
        require(batch_size >= 1, "batch_size", batch_size, "at least 1")
        names = [detector.name for detector in detectors]
        require(len(set(names)) == len(names), "detectors", names, "detectors of different names")
        self.detectors, self.order, self.threshold = tuple(detectors), order, threshold
        self.cuts, self.sample, self.reviewed, self.batch_size = tuple(cuts), sample, reviewed, batch_size

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Run the stages and draw the sample.

        Raises:
            BadArgument: ``reviewed`` names images that are not in the sample.
            BadData: a detector gives no probabilities.
        """
        params = {"order": self.order, "threshold": self.threshold, "sample": self.sample}
        if not self.detectors:
            note = "Cannot tell: there is no detector. Give one for what must not be there."
            return Findings.of([], CARD.name, params, Summary(notes=(note,)))
        made = self.run(data)
        found = [self._removal(data, int(row), made) for row in np.flatnonzero(made.stage >= 0)]
        for place, stage in enumerate(made.stages):
            why = f"stage {place + 1}, {stage.name}: {stage.removed} of {stage.seen} images"
            evidence = {"stage": place + 1, "seen": stage.seen, "removed": stage.removed}
            share = stage.removed / max(1, stage.seen)
            found.append(Finding("dataset", (stage.name,), share, False, "filter_stage", "review", why, evidence))
        kept = np.flatnonzero(made.stage == -1)
        drawn = np.sort(rng.permutation(kept)[: self.sample])
        for row in drawn:
            why = f"{data.ids[row]} was kept and is in the sample for people to look at"
            score = float(made.score[row])
            found.append(Finding("sample", (data.ids[row],), score, False, "audit_sample", "review", why))
        unread = int((made.stage == -2).sum())
        notes = [self._residual(data, drawn, len(kept))]
        if unread:
            notes.append(f"{unread} images could not be read: no detector saw them, so they are not kept either.")
        cut = self.cuts[0] if len(set(self.cuts)) == 1 else None
        return Findings.of(found, CARD.name, params, Summary(cut, float((made.stage >= 0).sum()), None, tuple(notes)))

    def run(self, data: ImageSet) -> Filtered:
        """What each stage removes.

        Raises:
            BadData: a detector gives no probabilities.
        """
        order = list(range(len(self.detectors)))
        if self.order == "cheap_first":
            order.sort(key=lambda place: (float(self.detectors[place].cost), place))
        score = np.full(len(data), np.nan)
        stage = np.full(len(data), -2, dtype=np.int64)
        left, stages = np.arange(len(data)), []
        for number, place in enumerate(order):
            detector = self.detectors[place]
            seen, value = self._scores(detector, data, left)
            score[seen], stage[seen] = value, np.where(value >= self.cuts[place], number, -1)
            left = seen[value < self.cuts[place]]
            stages.append(Stage(detector.name, len(seen), len(seen) - len(left)))
        return Filtered(score, stage, tuple(stages))

    def _scores(
        self, detector: ContentDetector, data: ImageSet, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows that could be read, and the detector's probability of each."""
        seen, made = [], []
        # A detector that states no size looks at images as they are: of several sizes one at a time.
        alone = getattr(data.source, "gather", None) is None and getattr(detector, "preprocess", None) is None
        many = 1 if alone else self.batch_size
        with evaluating(detector) as device, task(f"look with {detector.name}", len(rows)) as tracker, torch.no_grad():
            for part, pixels in batches(data, detector, many, rows=rows):
                value: Any = detector.score(as_images(pixels, device)).double().cpu().numpy()
                if value.shape != (len(part),) or not ((value >= 0) & (value <= 1)).all():
                    raise BadData(
                        f"{detector.name} gives scores of shape {value.shape}, {value.min()} to {value.max()}:",
                        "a detector gives one probability an image.",
                    )
                seen.append(part)
                made.append(value)
                tracker.advance(len(part))
        if not seen:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        return np.concatenate(seen), np.concatenate(made)

    def _removal(self, data: ImageSet, row: int, made: Filtered) -> Finding:
        name, p = made.stages[made.stage[row]].name, float(made.score[row])
        evidence = {"stage": int(made.stage[row]) + 1, "detector": name, "p": p}
        return Finding(
            "sample", (data.ids[row],), p, True, "content", "drop", f"{data.ids[row]}: {name} {p:.2f}", evidence
        )

    def _residual(self, data: ImageSet, drawn: NDArray[np.int64], kept: int) -> str:
        """What is known of the content in what was kept."""
        if not self.reviewed:
            return f"Cannot tell how much is left: nobody has looked at the {len(drawn)} drawn from the {kept} kept."
        names = {data.ids[row] for row in drawn}
        foreign = [name for name in self.reviewed if name not in names]
        if foreign:
            raise BadArgument(
                f"reviewed: {foreign[0]!r} is not in the sample drawn from what was kept.",
                "Give what people saw in this sample; images picked otherwise say nothing of the rate.",
            )
        hits, looked = sum(map(bool, self.reviewed.values())), len(self.reviewed)
        low, high = residual_rate(hits, looked)
        return (
            f"Of {looked} images looked at, {hits} show it: {hits / looked:.2%} of the {kept} kept "
            f"(95% interval {low:.2%} to {high:.2%})."
        )


def residual_rate(found: int, looked: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of the share that a filter let through, from a random sample of what it kept."""
    low, high = clopper_pearson(found, looked, level)
    return float(low), float(high)
