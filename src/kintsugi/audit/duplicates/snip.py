"""Finds groups of near duplicates from codes of a few bytes an image, where vectors themselves are too many to compare.

Webster, Rabin, Simon and Jurie, "On the De-duplication of LAION-2B", 2023, arXiv:2303.12733. Feature vectors are made
shorter by a small network (SNIP), then product-quantised; each asks for its k nearest codes by the asymmetric distance
ADC(x, y) = |x - q(y)|^2. x and y are duplicates where y's code is hardly further from x than x's own,

    ADC(x, y) <= (1 + slack) ADC(x, x) + offset,

which follows the local error of the codes as one fixed threshold cannot. ADC is not symmetric: both directions must
hold. Pairs become groups (:mod:`kintsugi.audit.duplicates.grouping`), capped by a re-check on the whole features.

Ours: slack and offset (the paper's rule is given in words only); vectors that are equal to the last bit are put
together first, so that a group may be larger than k; the re-check's threshold, which the authors set to a squared
distance of 0.1 for CLIP, is read from the look-alikes of the data itself unless a number is given; there are 24
vectors or more to a centroid, for where each vector has its own, every ADC(x, x) is 0 and nothing is a duplicate.

On copies of digits, by their pixels, the ratio ranks far better than one threshold does, and SNIP's codes better than
those of principal components (`kintsugi prove snip`). On garments as an ImageNet network sees them (`--setting
fashion`) noise moves copies as far as look-alikes lie: the ratio is still the better rule, principal components are
the better compressor, and the re-check, told to keep look-alikes out, lets next to nothing through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.duplicates import cut as cuts
from kintsugi.audit.duplicates.alike import TAIL, fisher
from kintsugi.audit.duplicates.grouping import MODES, capped, duplicate_groups, report, unique_pairs
from kintsugi.audit.duplicates.vectors import firsts
from kintsugi.core.card import Card
from kintsugi.core.errors import one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.codes import CENTROIDS, ProductCodes
from kintsugi.ops.neighbours import checked, pair_cosine, unit
from kintsugi.training.feature_compressor import METHODS, FeatureCompressor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="snip",
    kind="auditor",
    title="Groups of near duplicates from compressed features, for sets too large to compare whole vectors",
    paper="Webster et al., On the De-duplication of LAION-2B, 2023, arXiv:2303.12733",
    card=53,
    code="https://github.com/ryanwebster90/snip-dedup",
    needs=("features or an encoder",),
    status="proven",
    settings=(("fashion", "not proven"),),
)

A_CENTROID = 24  # vectors to a centroid, at least
LISTED = 10_000  # pairs listed that were candidates and no more
BLOCK = 2**23  # numbers of vectors compared at a time
FEWEST = 48  # distinct vectors below which there are no two centroids to speak of


class Snip:
    """Finds groups of duplicates.

    Args:
        encoder: makes the features; None takes ``outputs.features``.
        compressor: ``snip``, ``pca`` or ``none``.
        size: length of the compressed vectors.
        steps: batches that SNIP learns from.
        parts: bytes a code.
        centroids: of each part, a power of two up to 256.
        k: codes each image looks at.
        threshold: ``adaptive``, or an ADC at or below which a pair is taken.
        slack: of the adaptive threshold, relative to an image's own ADC.
        offset: of the adaptive threshold, in squared distance.
        recheck: largest squared distance of the whole features (of length 1) inside a group; ``auto`` finds where the
            look-alikes of this data end.
        mode: ``greedy`` or ``components``.

    Each finding is a pair: the first of a group and another of its images; ``evidence`` names the group. Pairs of close
    codes that the re-check parts are listed too, unflagged. One more finding is about the data set: how many images
    are unique, how large the groups are, and which splits they join.
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        *,
        compressor: Literal["snip", "pca", "none"] = "snip",
        size: int = 64,
        steps: int = 600,
        parts: int = 8,
        centroids: int = 256,
        k: int = 6,
        threshold: float | Literal["adaptive"] = "adaptive",
        slack: float = 0.2,
        offset: float = 0.001,
        recheck: float | Literal["auto"] = "auto",
        mode: Literal["greedy", "components"] = "greedy",
    ) -> None:
        one_of("compressor", compressor, METHODS)
        require(size >= 1, "size", size, "at least 1")
        require(steps >= 1, "steps", steps, "at least 1 step")
        require(parts >= 1, "parts", parts, "at least 1 part")
        require(centroids in CENTROIDS, "centroids", centroids, "a power of two from 2 to 256")
        require(k >= 1, "k", k, "at least 1 neighbour")
        if isinstance(threshold, str):
            one_of("threshold", threshold, ("adaptive",))
        else:
            require(threshold >= 0, "threshold", threshold, "adaptive, or a squared distance of at least 0")
        require(slack >= 0, "slack", slack, "a number of at least 0")
        require(offset >= 0, "offset", offset, "a number of at least 0")
        if isinstance(recheck, str):
            one_of("recheck", recheck, ("auto",))
        else:
            require(0 <= recheck <= 4, "recheck", recheck, "auto, or a squared distance from 0 to 4")
        one_of("mode", mode, MODES)
        self.encoder, self.compressor, self.size, self.steps = encoder, compressor, size, steps
        self.parts, self.centroids, self.k, self.threshold = parts, centroids, k, threshold
        self.slack, self.offset, self.recheck, self.mode = slack, offset, recheck, mode

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Compare all images that have a vector.

        Raises:
            BadData: there are no outputs for a sample, or features are not finite.
        """
        params = {name: value for name, value in vars(self).items() if name != "encoder"}
        features = self._features(data, outputs)
        if features is None:
            note = "Without features or an encoder it cannot tell which images are duplicates."
            return Findings.of([], CARD.name, params, Summary(notes=(note,)))
        rows = np.flatnonzero(~np.isnan(features).any(axis=1)) if self.encoder is not None else np.arange(len(data))
        vectors = unit(checked("features", features[rows]))
        first, copy_of = firsts(vectors + np.float32(0))  # -0 becomes 0
        pairs, cut = self._near(vectors[first], rng)
        label, other = self._grouped(vectors[first], pairs, cut.threshold)
        label = first[label][copy_of]
        split = data.column("split") if "split" in data.columns else None
        found = [
            _pair(data, split, rows, vectors, (int(label[row]), int(row)), True)
            for row in np.flatnonzero(label != np.arange(len(label)))
        ]
        found += [_pair(data, split, rows, vectors, (a, b), False) for a, b in first[other].tolist()]
        told = report(label, None if split is None else split[rows])
        if len(rows):
            found.append(_whole(told))
        notes = [cut.note]
        if len(rows) < len(data):
            notes.append(f"{len(data) - len(rows)} images could not be read and were left out.")
        if len(first) == 1 < len(rows):
            notes.append("All vectors are the same: either the images are, or these features say nothing.")
        count = None if cut.false is None else max(0.0, told["duplicates"] - cut.false)
        return Findings.of(found, CARD.name, params, Summary((1 + cut.threshold) / 2, count, None, tuple(notes)))

    def _features(self, data: ImageSet, outputs: Outputs | None) -> NDArray[Any] | None:
        if self.encoder is not None:
            from kintsugi.models.cache import embed

            return embed(self.encoder, data) if len(data) else np.zeros((0, 1), np.float32)
        return None if outputs is None else outputs.take(data.ids).features

    def _near(self, vectors: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.int64], cuts.Cut]:
        """Pairs of close codes, and the cosine from which the whole features agree."""
        if len(vectors) < FEWEST:
            note = f"{len(vectors)} different vectors are too few for codes: only equal vectors are duplicates."
            return np.zeros((0, 2), np.int64), cuts.Cut(1.0, None, None, note)
        how: Any = {"method": self.compressor, "size": self.size, "steps": self.steps}
        short = FeatureCompressor(**how).fit(vectors, rng).transform(vectors)
        centroids = min(self.centroids, 2 ** int(np.log2(len(short) / A_CENTROID)))
        codes = ProductCodes(self.parts, centroids).fit(short, rng)
        code = codes.encode(short)
        rows = codes.search(short, code, self.k, alone=True)[1]
        pairs = np.stack([np.repeat(np.arange(len(rows)), rows.shape[1]), rows.ravel()], axis=1)
        pairs = unique_pairs(pairs)[0]
        if self.recheck == "auto":
            alike = fisher(pair_cosine(vectors, pairs))  # cosines end at 1, where their tail cannot be told
            cut = cuts.calibrated(alike, alike, len(pairs), None, 0.1, TAIL)
            cut = replace(cut, threshold=float(np.tanh(cut.threshold)))
        else:
            cut = cuts.Cut(1 - float(self.recheck) / 2, None, None, f"Re-checked at {self.recheck:g}, as asked.")
        return pairs[self._close(codes, short, code, pairs)], cut

    def _close(
        self, codes: ProductCodes, short: NDArray[np.float32], code: NDArray[np.uint8], pairs: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        if self.threshold == "adaptive":
            return excess(codes, short, code, pairs, slack=self.slack, offset=self.offset) <= 1
        there = codes.distance(short[pairs[:, 0]], code[pairs[:, 1]])
        back = codes.distance(short[pairs[:, 1]], code[pairs[:, 0]])
        return np.maximum(there, back) <= self.threshold

    def _grouped(
        self, vectors: NDArray[np.float32], pairs: NDArray[np.int64], threshold: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Names of groups, and the pairs of close codes that no group joins, nearest first."""
        alike = pair_cosine(vectors, pairs)
        near = pairs[alike >= threshold]
        label = duplicate_groups(len(vectors), near, self.mode)
        label = capped(label, near, lambda asked: pair_cosine(vectors, asked) >= threshold)
        apart = label[pairs[:, 0]] != label[pairs[:, 1]]
        order = np.lexsort((pairs[apart, 1], pairs[apart, 0], -alike[apart]))
        return label, pairs[apart][order[:LISTED]]


def excess(
    codes: ProductCodes,
    points: NDArray[np.float32],
    code: NDArray[np.uint8],
    pairs: NDArray[np.int64],
    *,
    slack: float = 0.0,
    offset: float = 1e-9,
) -> NDArray[np.float32]:
    """ADC(x, y) / ((1 + slack) ADC(x, x) + offset), the larger of both directions: duplicates have 1 or less.

    Args:
        codes: fitted codebooks.
        points: compressed vectors ``[N, D]``.
        code: their codes.
        pairs: rows int64 ``[P, 2]``.
        slack: see above.
        offset: see above.
    """
    allowed = (1 + slack) * codes.distance(points, code) + offset
    worst = np.zeros(len(pairs), np.float32)
    step = max(1, BLOCK // max(1, points.shape[1]))
    for top in range(0, len(pairs), step):
        part = pairs[top : top + step]
        for x, y in (part.T, part.T[::-1]):
            adc, most = codes.distance(points[x], code[y]), allowed[x]
            ratio = np.divide(adc, most, out=np.where(adc > 0, np.float32(np.inf), np.float32(0)), where=most > 0)
            worst[top : top + step] = np.maximum(worst[top : top + step], ratio)
    return worst


def _pair(
    data: ImageSet,
    split: NDArray[Any] | None,
    rows: NDArray[np.int64],
    vectors: NDArray[np.float32],
    pair: tuple[int, int],
    flagged: bool,
) -> Finding:
    near = float(pair_cosine(vectors, np.array([pair]))[0])
    a, b = (int(rows[row]) for row in pair)
    splits = [str(split[row]) for row in (a, b)] if split is not None else []
    leak = len(set(splits)) > 1
    words = f"cosine {near:.3f}" + (f", splits {splits[0]} and {splits[1]}" if leak else "")
    what = "show the same picture" if flagged else "have close codes, and features that differ"
    return Finding(
        subject="pair",
        ids=(data.ids[a], data.ids[b]),
        score=float(np.clip((1 + near) / 2, 0.0, 1.0)),
        flagged=flagged,
        check="duplicate_group",
        suggestion=("split" if leak else "drop") if flagged else "review",
        why=f"{data.ids[a]} and {data.ids[b]} {what}: {words}",
        evidence={"similarity": near, "group": data.ids[a] if flagged else None, "splits": splits},
    )


def _whole(told: dict[str, Any]) -> Finding:
    total, twice = told["unique"] + told["duplicates"], told["duplicates"]
    why = f"{twice} of {total} images are duplicates of others; {told['unique']} are unique"
    if told.get("leaks"):
        why += "; groups across splits: " + ", ".join(f"{n} in {name}" for name, n in told["leaks"].items())
    evidence = {**told, "sizes": {str(size): n for size, n in told["sizes"].items()}}
    return Finding("dataset", ("duplicates",), twice / total, False, "duplication", "review", why, evidence)
