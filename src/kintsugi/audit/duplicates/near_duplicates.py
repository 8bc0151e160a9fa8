"""Finds images that are copies of others, exact or changed, within and across splits, in memory linear in their number.

Exact copies share a hash of their decoded pixels. Changed ones (exposure, noise, shift, crop, mirror image) are
proposed by nearest neighbours of small descriptors, of the mirrored images too, then laid on each other and compared
(:mod:`kintsugi.audit.duplicates.picture`). The threshold is calibrated on the data itself: copies are planted to see
how similar copies are, the candidates show how similar look-alikes are, and the expected share of false pairs is kept
below ``fdr``. With an encoder, or with features, similarity is the cosine: SelfClean's D = (1 - cos) / 2 is
(1 - similarity) / 2, its automatic cut is ``threshold="selfclean"``.

Groeger, Lionetti, Gottfrois et al., "Intrinsic Self-Supervision for Data Quality Audits", NeurIPS 2024 (the distance
and the cut). Pixels, alignment and calibration are ours: with its default contamination the published cut is known to
flag nothing. Neighbours replace the full N x N matrix, so a pair outside each other's ``k`` nearest is not seen.

Planted copies of photographs, moved and pressed, are ranked and flagged far better than by perceptual hashes (`kintsugi
prove near_duplicates`); of digits, changed in exposure alone, a plain cosine of the pixels ranks better still. On the
pairs of CIFAR-10 that people judged to be duplicates (`--setting cifar`) the ranking is no better than that of a
256-bit pHash, and the threshold keeps its precision (0.93) at the price of recall (0.38): real duplicates differ more
than planted copies do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from kintsugi.audit.duplicates import cut as cuts
from kintsugi.audit.duplicates import picture
from kintsugi.audit.duplicates.seen import Seen
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.ops.neighbours import nearest, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="near_duplicates",
    kind="auditor",
    title="Pairs of images that are copies of each other, exact or changed, and leaks between splits",
    paper="Groeger et al., Intrinsic Self-Supervision for Data Quality Audits, NeurIPS 2024, arXiv:2305.17048",
    card=111,
    code="https://github.com/Digital-Dermatology/SelfClean",
    status="proven",
    settings=(("cifar", "not proven"),),
)

PLANTED = 200  # copies planted to learn how similar copies are
SAMPLED = 1000  # candidate pairs looked at to learn how similar look-alikes are
DRAWN = 500_000  # random pairs that stand for all pairs in SelfClean's cut
CHUNK = 512  # pairs laid on each other at a time


class NearDuplicates:
    """Finds duplicate images.

    Args:
        encoder: compares by the cosine of its vectors; None compares pixels.
        space: ``auto`` (the encoder if there is one, else pixels), ``pixels``, or ``features``: the cosine of
            ``outputs.features``.
        threshold: ``auto``, ``selfclean``, or a similarity from -1 to 1 from which a pair is flagged.
        k: neighbours of each image that are looked at.
        fdr: with ``auto``, accepted share of false pairs among those flagged.
        alpha: with ``selfclean``, upper bound of the share of duplicates.

    Each finding is a pair with its similarity s as the score (1 + s) / 2; of m identical images, m - 1 pairs with the
    first one are given. Checks are ``exact_duplicate`` and ``near_duplicate``; suggestions ``drop`` (the second),
    ``split`` (the pair stands in two splits) and ``review`` (the labels differ).
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        *,
        space: Literal["auto", "pixels", "features"] = "auto",
        threshold: float | Literal["auto", "selfclean"] = "auto",
        k: int = 5,
        fdr: float = 0.1,
        alpha: float = 0.01,
    ) -> None:
        one_of("space", space, ("auto", "pixels", "features"))
        if isinstance(threshold, str):
            one_of("threshold", threshold, ("auto", "selfclean"))
        else:
            require(-1 <= threshold <= 1, "threshold", threshold, "auto, selfclean, or a similarity from -1 to 1")
        require(k >= 1, "k", k, "at least 1 neighbour")
        require(0 < fdr < 1, "fdr", fdr, "a share between 0 and 1")
        require(0 < alpha < 0.5, "alpha", alpha, "a share between 0 and 0.5")
        if space == "auto":
            space = "features" if encoder is not None else "pixels"
        require(space == "features" or encoder is None, "space", space, "features (or auto) together with an encoder")
        require(
            threshold != "selfclean" or space == "features", "threshold", threshold, "selfclean with space='features'"
        )
        self.encoder, self.space, self.threshold = encoder, space, threshold
        self.k, self.fdr, self.alpha = k, fdr, alpha

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Compare all images.

        Raises:
            BadArgument: ``space="features"`` without an encoder, and the outputs have no features.
        """
        seen = Seen(data, self.encoder, self._given(data, outputs))
        single, copies = _exact(seen)
        compare = self._by_pixels if self.space == "pixels" else self._by_vectors
        pairs, similarity, how, cut = compare(seen, single, rng)
        split = data.column("split") if "split" in data.columns else None
        found = [_finding(data, split, seen.rows[[*pair]], 1.0, True, "exact_duplicate", {}) for pair in copies]
        for pair, near, more in zip(pairs, similarity.tolist(), how, strict=True):
            found.append(_finding(data, split, seen.rows[pair], near, near >= cut.threshold, "near_duplicate", more))
        count, interval = _counted(len(copies), int((similarity >= cut.threshold).sum()), cut)
        unread = len(data) - len(seen.rows)
        notes = (cut.note, *([f"{unread} images could not be read and were left out."] if unread else []))
        params = {"space": self.space, "threshold": self.threshold, "k": self.k, "fdr": self.fdr, "alpha": self.alpha}
        return Findings.of(found, CARD.name, params, Summary((1 + cut.threshold) / 2, count, interval, notes))

    def _given(self, data: ImageSet, outputs: Outputs | None) -> NDArray[Any] | None:
        if self.space == "pixels" or self.encoder is not None:
            return None
        if outputs is None or outputs.features is None:
            raise BadArgument("space='features' needs features:", "give outputs with features, or an encoder.")
        return outputs.take(data.ids).features

    def _by_pixels(
        self, seen: Seen, single: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], list[dict[str, Any]], cuts.Cut]:
        """Candidates in two looks: a coarse one at all, a fine one at the promising and at a sample of the rest."""
        small = seen.small[single]
        plain = picture.descriptor(small)
        mirrored = nearest(plain, self.k + 1, picture.descriptor(small, flip=True))[1]
        pairs = np.concatenate([_pairs(nearest(plain, self.k)[1], 0), _pairs(mirrored, 1)])
        first = _laid(small, small, pairs, coarse=True)[0]
        chosen = rng.integers(max(len(small), 1), size=min(PLANTED, 4 * len(small)))
        copies, turned = picture.changed(small[chosen], rng)
        both = np.stack([chosen, np.arange(len(chosen)), turned], axis=1)
        planted, rough = _laid(small, copies, both)[0], _laid(small, copies, both, coarse=True)[0]
        promising = first >= (float(np.quantile(rough, 0.01)) - 0.05 if len(rough) else 1.0)
        if promising.sum() > max(len(small), SAMPLED):  # look-alikes abound: the best of the first look must do
            promising &= first >= np.sort(first)[-max(len(small), SAMPLED)]
        sampled = rng.permutation(len(pairs))[:SAMPLED]
        looked = np.union1d(sampled, np.flatnonzero(promising))
        similarity, change = np.full(len(pairs), -1.0), np.zeros((len(pairs), 3))
        similarity[looked], change[looked] = _laid(small, small, pairs[looked])
        best = _best_way(pairs, np.where(promising, similarity, -2.0))
        cut = self._cut(similarity[best], similarity[sampled], len(pairs), planted, np.zeros(0), len(small))
        how = [
            {
                "mirrored": bool(pairs[i, 2]),
                "shift": (change[i, :2] / 2).round(3).tolist(),
                "scale": round(float(np.exp(change[i, 2])), 3),
            }
            for i in best
        ]
        return single[pairs[best, :2]], similarity[best], how, cut

    def _by_vectors(
        self, seen: Seen, single: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], list[dict[str, Any]], cuts.Cut]:
        vectors = unit(seen.vectors[single])
        pairs = _pairs(nearest(vectors, self.k)[1], 0)[:, :2]
        similarity = _cosine(vectors, pairs)
        planted = None
        if self.encoder is not None and len(single):
            planted = seen.planted(single[rng.integers(len(single), size=min(PLANTED, 4 * len(single)))], rng)
        drawn = np.zeros(0)
        if self.threshold == "selfclean" and len(vectors) > 1:
            random = rng.integers(len(vectors), size=(DRAWN, 2))
            drawn = _cosine(vectors, random[random[:, 0] != random[:, 1]])
        cut = self._cut(similarity, similarity, len(pairs), planted, drawn, len(vectors))
        return single[pairs], similarity, [{}] * len(pairs), cut

    def _cut(
        self,
        similarity: NDArray[np.float64],
        look_alikes: NDArray[np.float64],
        pairs: int,
        planted: NDArray[np.float64] | None,
        drawn: NDArray[np.float64],
        count: int,
    ) -> cuts.Cut:
        if self.threshold == "auto":
            return cuts.calibrated(similarity, look_alikes, pairs, planted, self.fdr)
        if self.threshold == "selfclean":
            return cuts.selfclean((1 - drawn) / 2, count, alpha=self.alpha)
        return cuts.Cut(float(self.threshold), None, None, f"Flagged from {self.threshold:g}, as asked.")


def _exact(seen: Seen) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Places of the first of all identical images, and each further one paired with its first."""
    first: dict[bytes, int] = {}
    copies = []
    for place, digest in enumerate(seen.digest):
        if first.setdefault(digest, place) != place:
            copies.append((first[digest], place))
    return np.array(sorted(first.values()), dtype=np.int64), copies


def _pairs(neighbours: NDArray[np.int64], way: int) -> NDArray[np.int64]:
    """Unordered candidate pairs and the way they were met (1: mirrored), int64 ``[P, 3]``."""
    left = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    pairs = np.stack([left, neighbours.ravel()], axis=1)
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    return np.concatenate([pairs, np.full((len(pairs), 1), way, dtype=np.int64)], axis=1)


def _laid(
    one: NDArray[np.uint8], other: NDArray[np.uint8], pairs: NDArray[np.int64], *, coarse: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Agreement of pairs ``(row of one, row of other, mirrored)`` and the change that reached it."""
    similarity, change = np.empty(len(pairs)), np.empty((len(pairs), 3))
    with task("first look at pairs" if coarse else "align pairs", len(pairs)) as tracker:
        for top in range(0, len(pairs), CHUNK):
            part = pairs[top : top + CHUNK]
            a, b = _banded(one, part[:, 0]), _banded(other, part[:, 1])
            b = torch.where(torch.from_numpy(part[:, 2] == 1)[:, None, None, None], b.flip(3), b)
            found, how = picture.agreement(*((picture.half(a), picture.half(b), 4) if coarse else (a, b, 8)))
            similarity[top : top + CHUNK], change[top : top + CHUNK] = found.numpy(), how.numpy()
            tracker.advance(len(part))
    return similarity, change


def _banded(small: NDArray[np.uint8], rows: NDArray[np.int64]) -> torch.Tensor:
    """Bands of some rows, each image's made once."""
    once, place = np.unique(rows, return_inverse=True)
    return picture.bands(small[once])[torch.from_numpy(place)]


def _best_way(pairs: NDArray[np.int64], similarity: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of each pair that was looked at (similarity above -2) the better of its two ways."""
    order = np.lexsort((pairs[:, 2], -similarity, pairs[:, 1], pairs[:, 0]))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (pairs[order[1:], :2] != pairs[order[:-1], :2]).any(axis=1)
    best = order[first]
    return best[similarity[best] > -2]


def _cosine(vectors: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosine of pairs of unit vectors, exact for near ones: 1 - |u - v|^2 / 2."""
    found = np.empty(len(pairs))
    for top in range(0, len(pairs), 8192):
        left, right = pairs[top : top + 8192].T
        apart = vectors[left] - vectors[right]
        found[top : top + 8192] = 1 - np.einsum("pd,pd->p", apart, apart) / 2
    return found


def _counted(copies: int, flagged: int, cut: cuts.Cut) -> tuple[float | None, tuple[float, float] | None]:
    """Duplicates by count: flagged pairs less the look-alikes expected among them.

    The interval's upper end also counts the changed copies that the threshold misses, as the planted ones tell.
    """
    if cut.false is None:
        return None, None
    true, spread = max(0.0, flagged - cut.false), 1.96 * float(np.sqrt(max(flagged + cut.false, 2.35)))  # none seen: 3
    most = (true + spread) / max(cut.recall or 1.0, 1e-3)
    return copies + true, (copies + max(0.0, true - spread), copies + most)


def _finding(
    data: ImageSet,
    split: NDArray[Any] | None,
    pair: NDArray[np.int64],
    near: float,
    flagged: bool,
    check: str,
    more: dict[str, Any],
) -> Finding:
    a, b = pair.tolist()
    labels = [data.classes[k] if (k := int(data.labels[row])) >= 0 else None for row in (a, b)]
    splits = [str(split[row]) for row in (a, b)] if split is not None else []
    leak, differ = len(set(splits)) > 1, None not in labels and labels[0] != labels[1]
    words = ["identical pixels" if check == "exact_duplicate" else f"similarity {near:.3f}"]
    words += ["one mirrored"] if more.get("mirrored") else []
    words += [f"splits {splits[0]} and {splits[1]}"] if leak else []
    words += [f"labels {labels[0]} and {labels[1]}"] if differ else []
    return Finding(
        subject="pair",
        ids=(data.ids[a], data.ids[b]),
        score=float(np.clip((1 + near) / 2, 0.0, 1.0)),
        flagged=bool(flagged),
        check=check,
        suggestion="split" if leak else "review" if differ else "drop",
        why=f"{data.ids[a]} and {data.ids[b]} show the same picture: " + ", ".join(words),
        evidence={"similarity": near, "distance": (1 - near) / 2, "labels": labels, "splits": splits, **more},
    )
