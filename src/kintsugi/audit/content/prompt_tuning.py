"""Rates every image for a concept that people judged on a few: offensive, private, not for children.

Schramowski, Tauchmann and Kersting, "Can Machines Help Us Answering Question 16 in Datasheets, and In Turn Reflecting
on Inappropriate Content?", FAccT 2022 (its preprint: "Inferring Offensiveness In Images From Natural Language
Supervision", arXiv:2110.04222). In the space of a frozen image-text encoder each level of the concept has one vector;
only these are trained. With z the embedding of an image, v_c the vector of level c and s the encoder's scale (100),

    p(c | z) = softmax_c(s * cos(z, v_c))                                                                          (1)

is fitted by cross-entropy with gradient descent (lr 0.01, momentum 0.9). The v_c start from the embeddings of a
sentence for each level, or, where the encoder has no text half, from the mean embedding of the images rated so. Ratings
run from bad to good (SMID: 1 to 5); below 2.5 is the first level, above 3.5 the last, and the middle is left out of
training, as in the official code (ml-research/OffImgDetectionCLIP).

Ours: tuning stops, of a few stops up to ``epochs``, where the ratings held out in the splits are rated best, since at
scale 100 a few hundred steps fit every wrong rating; the figures on these ratings are therefore a little kind. The v_c
are scaled to length 1 after every step (cosines do not care, steps of a growing vector do); all ratings
are one batch, so that nothing but the held-out splits depends on chance; leaving out the middle flatters, so the report
also gives the AUROC and the rank correlation over the full range. The paper's figures were not verified. The concept is
that of the raters, and what is flagged is to be looked at by people: nothing here deletes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from kintsugi.audit.content.prototypes import Tuning, held_out
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.kinds import ImageTextEncoder
from kintsugi.ops.neighbours import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="prompt_tuning",
    kind="auditor",
    title="Every image rated for a concept that people judged on a few, by tuned prompts",
    paper="Schramowski et al., Can Machines Help Us Answering Question 16 in Datasheets, FAccT 2022, arXiv:2110.04222",
    card=31,
    code="https://github.com/ml-research/OffImgDetectionCLIP",
    needs=("ratings",),
    status="proven",
)

INITS = ("auto", "text", "means", "random")
SHOWN = 50  # classes named in the findings, those with the largest share first
Level = tuple[float, float]


@dataclass(frozen=True)
class Rated:
    """Every image's rating.

    Attributes:
        prob: p of each level, float64 ``[N, L]``; NaN for images that could not be read.
        report: what held-out ratings say of it, empty where they are too few: ``accuracy without the middle``,
            ``AUROC without the middle``, ``AUROC over all ratings``, ``rank correlation over all ratings``.
        counts: images rated in each level, and between levels.
        notes: what must be known beside it.
    """

    prob: NDArray[np.float64]
    report: Mapping[str, float] = field(default_factory=dict)
    counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class PromptTuning:
    """Rates images for a concept.

    Args:
        encoder: an image-text encoder, or any encoder; None takes the features of the outputs.
        ratings: rating of some images: a column of the data (empty where nobody rated), or ratings by id.
        levels: (from, below) of each level's ratings; the first is the one to be found. What lies in none is left out
            of training.
        prompts: one sentence a level, where tuning starts.
        init: start from ``text`` (the prompts), the ``means`` of the rated images, or ``random`` directions; ``auto``
            is text where the encoder can read, else means.
        threshold: p of the first level from which an image is flagged.
        epochs: steps over all ratings, at most.
        early: stop where held-out ratings are rated best (with few ratings, some of them wrong, often at once); False
            takes all steps.
        lr: of gradient descent.
        momentum: of gradient descent.
        splits: stratified splits, a tenth held out in each, behind the report.
        scale: s of (1); None takes the encoder's, else 100.

    Findings are the flagged images (``review``), surest first: the queue for people; and the classes they are in.
    """

    def __init__(
        self,
        encoder: Encoder | ImageTextEncoder | None = None,
        *,
        ratings: str | Mapping[str, float] | None = None,
        levels: Sequence[Level] = ((-np.inf, 2.5), (3.5, np.inf)),
        prompts: Sequence[str] = (
            "This image is about something negative.",
            "This image is about something positive.",
        ),
        init: Literal["auto", "text", "means", "random"] = "auto",
        threshold: float = 0.5,
        epochs: int = 300,
        early: bool = True,
        lr: float = 0.01,
        momentum: float = 0.9,
        splits: int = 10,
        scale: float | None = None,
    ) -> None:
        one_of("init", init, INITS)
        require(0 < threshold <= 1, "threshold", threshold, "a probability above 0")
        require(epochs >= 1, "epochs", epochs, "1 or more")
        require(lr > 0, "lr", lr, "a number above 0")
        require(0 <= momentum < 1, "momentum", momentum, "a number from 0 to below 1")
        require(splits >= 2, "splits", splits, "2 or more")
        require(scale is None or scale > 0, "scale", scale, "a number above 0")
        ends = [end for level in levels for end in level]
        ordered = len(levels) >= 2 and all(a <= b for a, b in pairwise(ends))
        require(ordered and all(a < b for a, b in levels), "levels", levels, "two or more that rise and do not overlap")
        reads = isinstance(encoder, ImageTextEncoder)
        if init == "auto":
            init = "text" if reads else "means"
        require(init != "text" or reads, "init", init, "means, for an encoder that cannot read")
        if init == "text":
            require(len(prompts) == len(levels), "prompts", prompts, f"one for each of the {len(levels)} levels")
        self.encoder, self.ratings, self.levels, self.prompts = encoder, ratings, tuple(levels), tuple(prompts)
        self.init, self.threshold, self.epochs, self.lr, self.momentum = init, threshold, epochs, lr, momentum
        own: Any = getattr(encoder, "scale", 100.0)
        self.early, self.splits, self.scale = early, splits, float(own if scale is None else scale)

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Rate the images; findings say "cannot tell" where there is nothing to learn the concept from.

        Raises:
            BadArgument: the ratings name a column or ids that are not there.
            BadData: a rating is no finite number, or outputs miss a sample.
        """
        rated = self.rate(data, outputs, rng)
        names = ("init", "threshold", "epochs", "early", "lr", "momentum", "splits", "scale")
        params = {name: getattr(self, name) for name in names} | {
            "levels": [[x if np.isfinite(x) else None for x in level] for level in self.levels]
        }
        if not len(rated.prob) or np.isnan(rated.prob).all():
            return Findings.of([], CARD.name, params, Summary(None, None, None, rated.notes))
        p = np.nan_to_num(rated.prob[:, 0], nan=-1.0)
        found = [_image(data, int(row), float(p[row])) for row in np.flatnonzero(p >= self.threshold)]
        found += _classes(data, p, self.threshold)
        how = ", ".join(f"{name} {value:.3f}" for name, value in rated.report.items())
        notes = (*rated.notes, *([f"On ratings held out: {how}."] if how else []))
        return Findings.of(found, CARD.name, params, Summary(self.threshold, None, None, notes))

    def rate(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Rated:
        """Tune on the rated images and rate all; where it cannot be done ``prob`` is NaN and the notes say why."""
        nothing = np.full((len(data), len(self.levels)), np.nan)
        rating = self._given(data)
        space = self._space(data, outputs) if np.isfinite(rating).any() else None
        if space is None:
            why = "nobody rated any of these images" if not np.isfinite(rating).any() else "there is no encoder"
            return Rated(nothing, notes=(f"Cannot tell: {why}. Give ratings and an encoder.",))
        rating = np.where(np.isfinite(space).all(axis=1), rating, np.nan)
        level = self._levels(rating)
        counts = tuple(int((level == k).sum()) for k in range(len(self.levels)))
        counts += (int(np.isfinite(rating).sum()) - sum(counts),)
        if min(counts[:-1]) == 0:
            which = self.levels[int(np.argmin(counts[:-1]))]
            return Rated(nothing, counts=counts, notes=(f"Cannot tell: no image is rated in {which}.",))
        start = self._start(space, level, rng)
        used = np.flatnonzero(level >= 0)
        how = Tuning(self.scale, self.epochs, self.lr, self.momentum)
        cut = (self.levels[0][1] + self.levels[1][0]) / 2  # the middle of the gap parts the full range
        told = held_out(how, space, rating, level, start, cut, self.splits, rng, early=self.early)
        prob = how.rate(space, how.tune(space[used], level[used], start(used))[told.stop])
        said = f"Tuned on {sum(counts[:-1])} ratings ({', '.join(map(str, counts[:-1]))} a level); {counts[-1]} lie "
        said += f"between the levels and were left out. Tuning took {how.stops[told.stop]} of {self.epochs} steps. "
        first = said + "The concept is that of the people who rated."
        doubt = "Cannot tell how many images show it: the share flagged is a suggestion until people have looked."
        return Rated(prob, told.report, counts, (first, doubt, *told.notes))

    def _given(self, data: ImageSet) -> NDArray[np.float64]:
        """The rating of each image, NaN where there is none."""
        found = np.full(len(data), np.nan)
        if self.ratings is None:
            return found
        if isinstance(self.ratings, str):
            values: Any = dict(enumerate(data.column(self.ratings).tolist()))
        else:
            place = {name: row for row, name in enumerate(data.ids)}
            unknown = [name for name in self.ratings if name not in place]
            if unknown:
                raise BadArgument(
                    f"ratings: there is no image {unknown[0]!r}.", "Rate images of this data by their ids."
                )
            values = {place[name]: value for name, value in self.ratings.items()}
        for row, value in values.items():
            if value is None or value == "":
                continue
            try:
                found[row] = float(value)
            except (TypeError, ValueError):
                raise BadData(f"The rating {value!r} of {data.ids[row]!r} is no number.", "Give numbers.") from None
        if np.isinf(found).any():
            first = data.ids[int(np.flatnonzero(np.isinf(found))[0])]
            raise BadData(f"The rating of {first!r} is infinite.", "Give numbers on the scale of the levels.")
        return found

    def _levels(self, rating: NDArray[np.float64]) -> NDArray[np.int64]:
        level = np.full(len(rating), -1, dtype=np.int64)
        for k, (low, high) in enumerate(self.levels):
            level[(rating >= low) & (rating < high)] = k
        return level

    def _space(self, data: ImageSet, outputs: Outputs | None) -> NDArray[np.float32] | None:
        if self.encoder is not None:
            from kintsugi.models.cache import embed

            return embed(self.encoder, data)
        if outputs is None or outputs.features is None:
            return None
        return np.asarray(outputs.take(data.ids).features, dtype=np.float32)

    def _start(self, space: NDArray[Any], level: NDArray[np.int64], rng: np.random.Generator) -> Any:
        """Rows that may be used to the vectors tuning starts from."""
        if self.init == "text":
            with torch.no_grad():
                text: Any = self.encoder.encode_text(self.prompts).double().cpu().numpy()  # type: ignore[union-attr]
            return lambda _: text
        if self.init == "random":
            drawn = rng.standard_normal((len(self.levels), space.shape[1]))
            return lambda _: drawn
        image = unit(space)
        return lambda rows: np.stack([image[rows[level[rows] == k]].mean(axis=0) for k in range(len(self.levels))])


def _image(data: ImageSet, row: int, p: float) -> Finding:
    why = f"{data.ids[row]} is rated {p:.2f} for the concept"
    return Finding("sample", (data.ids[row],), min(1.0, p), True, "concept", "review", why, {"p": p})


def _classes(data: ImageSet, p: NDArray[np.float64], threshold: float) -> list[Finding]:
    """The classes with the largest shares of flagged images."""
    rows = np.flatnonzero((data.labels >= 0) & (p >= 0))
    total = np.bincount(data.labels[rows], minlength=len(data.classes))
    past = np.bincount(data.labels[rows[p[rows] >= threshold]], minlength=len(data.classes))
    share = past / np.maximum(total, 1)
    found = []
    for k in np.argsort(-share, kind="stable")[:SHOWN]:
        if past[k]:
            why = f"class {data.classes[k]}: {past[k]} of {total[k]} images are flagged"
            evidence = {"flagged": int(past[k]), "images": int(total[k])}
            name = (data.classes[k],)
            found.append(Finding("class", name, float(share[k]), False, "concept_in_class", "review", why, evidence))
    return found
