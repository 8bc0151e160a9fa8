"""Finds images that are copies of others, exact or changed, within and across splits, in memory linear in their number.

Exact copies share a hash of their decoded pixels. Changed ones (exposure, colour, noise, shift, crop, mirror image) are
proposed by nearest neighbours of descriptors, of the mirrored images too; the promising ones are laid on each other and
compared by edges and bands, beyond the level of each picture's look-alikes (:mod:`kintsugi.audit.duplicates.alike`),
best first, until no more copies come. With an encoder, or with features in the outputs, neighbours in its space are
candidates too, an encoder's also at right angles; its value is brought to the same scale by the tails of look-alikes,
and the larger of both counts. So an encoder that knows only classes does no harm, and one that sees through a crop to
less than half helps. The threshold is set by the data: the tail of look-alikes says how many false pairs to expect,
planted copies say what is missed, and the expected share of false pairs is kept below ``fdr``
(:mod:`kintsugi.audit.duplicates.cut`). Where no pair stands out of that tail, and most planted copies would not either,
look-alikes are as similar as copies: only identical pixels are flagged, the rest is ranked.

Groeger, Lionetti, Gottfrois et al., "Intrinsic Self-Supervision for Data Quality Audits", NeurIPS 2024: their distance
D = (1 - cos) / 2 is what ``space="features"`` compares by, their automatic cut is ``threshold="selfclean"``, known to
flag nothing with its default contamination. The rest is ours. Neighbours replace the full N x N matrix, so a pair
outside each other's ``k`` nearest is not seen. Turned pictures are found by an encoder alone.

Which of several copies of one photograph was changed least is another question: t does not see contrast, colour and
small moves. With ``first="nearest"`` copies of one picture are ordered by the cosine of an encoder's vectors, or of the
features (:mod:`kintsugi.audit.duplicates.closest`); the values, and the number flagged, stay. That takes vectors that
keep places, as of ``ModelEncoder(model, at="layer2", places=8)``; pooled features of classes gain nothing.

Settings were chosen on one half of CIFAR-10's test images. Of all 12,000 images, average precision by the best training
partner of a test image is 0.925 (0.94 on that half, 0.91 on the other; pixels: 0.65). Of the 143 pairs that ciFAIR's
authors list, the best partner is the listed one for 90%, and for 96% that or another copy of the same picture, by eye.
Nearest first, by the second stage of a ResNet-20 in 8 x 8 places, it is the listed one for 96% (74 or 75 of 78 on that
half, 62 or 63 of 65 on the other, which was seen meanwhile), at an average precision of 0.921; the cosine alone has
0.857. About 146 test images are flagged, 126 of the 143 among them; more than half of the others show the photograph
of a training image too, by eye, so that precision by the list (0.86) is too low a figure.
`kintsugi prove near_duplicates` has planted copies, `--setting cifar` the half that nothing was chosen on,
`--setting photos` photographs with an encoder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.duplicates import cut as cuts
from kintsugi.audit.duplicates.alike import (
    TAIL,
    Neighbourhood,
    alike,
    best_way,
    fisher,
    looked,
    neighbour_pairs,
)
from kintsugi.audit.duplicates.closest import dealt
from kintsugi.audit.duplicates.seen import Seen
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.neighbours import nearest, pair_cosine, unit

if TYPE_CHECKING:
    from collections.abc import Callable

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
    settings=(("cifar", "proven"), ("photos", "proven")),
)

PLANTED = 200  # copies planted to learn how similar copies are
SAMPLED = 1000  # candidate pairs looked at to learn how similar look-alikes are
DRAWN = 500_000  # random pairs that stand for all pairs in SelfClean's cut
TURNS = 3  # an encoder sees each picture upright and turned by one and two right angles
LOOKS = 2.0  # similarity of pictures is tanh(t / 2), so that the score (1 + s) / 2 is the logistic function of t
MUTE = 1e-3  # tail of look-alikes below which features are all but the same for all


class NearDuplicates:
    """Finds duplicate images.

    Args:
        encoder: its vectors help to find copies.
        space: ``auto`` (pixels, and the encoder's vectors or ``outputs.features`` where there are any), ``pixels``
            alone, or the cosine of ``features`` alone.
        threshold: ``auto``, ``selfclean``, or a similarity from -1 to 1 from which a pair is flagged.
        k: neighbours of each image that are looked at.
        fdr: with ``auto``, accepted share of false pairs among those flagged.
        alpha: with ``selfclean``, upper bound of the share of duplicates.
        first: of several copies of one picture, the ``surest`` one, or the ``nearest``, which was changed least, by
            the cosine of the encoder's vectors or of ``outputs.features``, which have to keep places; the similarities
            of such copies then change hands.

    Each finding is a pair with its similarity s as the score (1 + s) / 2, where s is the cosine of features, or
    tanh(t / 2) by the value t of :mod:`kintsugi.audit.duplicates.alike`: 0 is as alike as look-alikes are. Of m
    identical images, m - 1 pairs with the first one are given. Checks are ``exact_duplicate`` and ``near_duplicate``;
    suggestions ``drop`` (the second), ``split`` (the pair stands in two splits) and ``review`` (the labels differ).
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
        first: Literal["surest", "nearest"] = "surest",
    ) -> None:
        one_of("space", space, ("auto", "pixels", "features"))
        one_of("first", first, ("surest", "nearest"))
        require(first == "surest" or space == "auto", "first", first, f"surest with space={space!r}")
        if isinstance(threshold, str):
            one_of("threshold", threshold, ("auto", "selfclean"))
        else:
            require(-1 <= threshold <= 1, "threshold", threshold, "auto, selfclean, or a similarity from -1 to 1")
        require(k >= 1, "k", k, "at least 1 neighbour")
        require(0 < fdr < 1, "fdr", fdr, "a share between 0 and 1")
        require(0 < alpha < 0.5, "alpha", alpha, "a share between 0 and 0.5")
        require(space != "pixels" or encoder is None, "space", space, "auto or features together with an encoder")
        require(
            threshold != "selfclean" or space == "features", "threshold", threshold, "selfclean with space='features'"
        )
        self.encoder, self.space, self.threshold = encoder, space, threshold
        self.k, self.fdr, self.alpha, self.first = k, fdr, alpha, first

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Compare all images.

        Raises:
            BadArgument: ``space="features"`` or ``first="nearest"`` without an encoder, and the outputs have no
                features.
        """
        looks = self.space != "features"
        seen = Seen(data, self.encoder, self._given(data, outputs), turns=TURNS if looks else 1, pictures=looks)
        single, copies = _exact(seen)
        pairs, value, how, cut = (self._by_look if looks else self._by_vectors)(seen, single, rng)
        flags = value >= cut.threshold
        likeness = np.tanh(value / (LOOKS if looks else 1))
        told = _teller(data)
        found = [told(seen.rows[[*pair]].tolist(), 1.0, True, "exact_duplicate", {}) for pair in copies]
        for pair, near, flagged, more in zip(
            seen.rows[pairs].tolist(), likeness.tolist(), flags.tolist(), how, strict=True
        ):
            found.append(told(pair, near, flagged, "near_duplicate", more))
        count, interval = _counted(len(copies), int(flags.sum()), cut)
        unread = len(data) - len(seen.rows)
        notes = (cut.note, *([f"{unread} images could not be read and were left out."] if unread else []))
        names = ("space", "threshold", "k", "fdr", "alpha", "first")
        params = {name: getattr(self, name) for name in names}
        least = (1 + float(np.tanh(cut.threshold / (LOOKS if looks else 1)))) / 2
        least_score = least if np.isfinite(cut.threshold) else None
        return Findings.of(found, CARD.name, params, Summary(least_score, count, interval, notes))

    def _given(self, data: ImageSet, outputs: Outputs | None) -> NDArray[Any] | None:
        if self.space == "pixels" or self.encoder is not None:
            return None
        if outputs is not None and outputs.features is not None:
            return outputs.take(data.ids).features
        for name, value in (("space", "features"), ("first", "nearest")):
            if getattr(self, name) == value:
                raise BadArgument(f"{name}={value!r} needs features:", "give outputs with features, or an encoder.")
        return None

    def _by_look(
        self, seen: Seen, single: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], list[dict[str, Any]], cuts.Cut]:
        """Candidates by descriptors; the promising ones, and a sample of the rest, are laid on each other."""
        small = seen.small[single]
        near = Neighbourhood(small, self.k, seen.vectors if seen.encodes else None, seen.turned, single)
        pairs, most = near.pairs, max(len(small), SAMPLED)
        chosen = rng.integers(max(len(small), 1), size=min(PLANTED, 4 * len(small)))
        copies, mirrored, cosine = seen.changed(single[chosen], rng)
        sampled = rng.permutation(len(pairs))[:SAMPLED]
        value, change = looked(near, small, sampled, most)
        both = np.stack([chosen, np.arange(len(chosen)), mirrored], axis=1)
        planted = alike(small, near.described, copies, both)[0] - near.level[chosen]
        if near.encoded is not None and len(pairs) >= cuts.FEWEST:  # of fewer the tails cannot be compared
            told = _on_scale(near.encoded, value, sampled)
            value = np.maximum(value, told(near.encoded))
            planted = planted if cosine is None else np.maximum(planted, told(near.beyond(cosine, chosen)))
        kept = _best(value, most)
        best = kept[best_way(pairs[kept], value[kept])]
        cut = self._cut(value[best], value[sampled], len(pairs), planted, np.zeros(0), len(small), LOOKS, TAIL)
        shift, scale = (change[best, :2] / 2).round(3).tolist(), np.exp(change[best, 2]).round(3).tolist()
        how = [
            {"mirrored": mirror, "shift": moved, "scale": scaled}
            for mirror, moved, scaled in zip((pairs[best, 2] == 1).tolist(), shift, scale, strict=True)
        ]
        found, value = pairs[best, :2], value[best]
        if self.first == "nearest":
            assert near.upright is not None  # _given has seen to it
            value = dealt(found, value, near.upright[best], len(small))
        return single[found], value, how, cut

    def _by_vectors(
        self, seen: Seen, single: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], list[dict[str, Any]], cuts.Cut]:
        vectors = unit(seen.vectors[single])
        pairs = neighbour_pairs(nearest(vectors, self.k)[1])
        value = fisher(pair_cosine(vectors, pairs))
        planted = None
        if self.encoder is not None and len(single):
            chosen = rng.integers(len(single), size=min(PLANTED, 4 * len(single)))
            copied = seen.changed(single[chosen], rng)[2]
            planted = None if copied is None else fisher(copied)
        drawn = np.zeros(0)
        if self.threshold == "selfclean" and len(vectors) > 1:
            random = rng.integers(len(vectors), size=(DRAWN, 2))
            drawn = pair_cosine(vectors, random[random[:, 0] != random[:, 1]])
        cut = self._cut(value, value, len(pairs), planted, drawn, len(vectors), 1.0)
        return single[pairs], value, [{}] * len(pairs), cut

    def _cut(
        self,
        value: NDArray[np.float64],
        look_alikes: NDArray[np.float64],
        pairs: int,
        planted: NDArray[np.float64] | None,
        drawn: NDArray[np.float64],
        count: int,
        scale: float,
        at: float = cuts.TAIL,
    ) -> cuts.Cut:
        if self.threshold == "auto":
            return cuts.calibrated(value, look_alikes, pairs, planted, self.fdr, at)
        if self.threshold == "selfclean":
            made = cuts.selfclean((1 - drawn) / 2, count, alpha=self.alpha)
            return replace(made, threshold=float(fisher(np.array(made.threshold))))
        least = float(scale * fisher(np.array(self.threshold)))
        return cuts.Cut(least, None, None, f"Flagged from similarity {self.threshold:g}, as asked.")


def _best(value: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` largest finite values, in order of place."""
    order = np.argsort(-value, kind="stable")[:count]
    return np.sort(order[np.isfinite(value[order])])


def _on_scale(
    encoded: NDArray[np.float64], value: NDArray[np.float64], sampled: NDArray[np.int64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What brings the encoder's values to the scale of the pictures': equal tails of look-alikes.

    So an encoder to which a whole class is alike moves no pair, and one that sees through a crop moves it far.
    """
    (to, wide, _), (start, own, _) = (cuts.tail(each[sampled], TAIL) for each in (value, encoded))
    if own < MUTE:
        return lambda told: np.full(len(told), -np.inf)
    return lambda told: to + (told - start) * (wide / own)


def _exact(seen: Seen) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Places of the first of all identical images, and each further one paired with its first."""
    first: dict[bytes, int] = {}
    copies = []
    for place, digest in enumerate(seen.digest):
        if first.setdefault(digest, place) != place:
            copies.append((first[digest], place))
    return np.array(sorted(first.values()), dtype=np.int64), copies


def _counted(copies: int, flagged: int, cut: cuts.Cut) -> tuple[float | None, tuple[float, float] | None]:
    """Duplicates by count: flagged pairs less the look-alikes expected among them.

    The interval's lower end takes the look-alikes at the upper end of what is known of them; its upper end also counts
    the changed copies that the threshold misses, as the planted ones tell.
    """
    if cut.false is None:
        return None, None
    found, spread = max(0.0, flagged - cut.false), 1.96 * float(np.sqrt(max(flagged + cut.false, 2.35)))  # none seen: 3
    least = max(0.0, flagged - (cut.false if cut.most is None else cut.most) - spread)
    most = (found + spread) / max(cut.recall or 1.0, 1e-3)
    return copies + found, (copies + min(least, found), copies + most)


def _teller(data: ImageSet) -> Callable[[list[int], float, bool, str, dict[str, Any]], Finding]:
    """What makes a finding of a pair of rows, its similarity, whether it is flagged, the check and how they lie."""
    ids, split = data.ids, data.column("split").tolist() if "split" in data.columns else None
    label = [data.classes[k] if k >= 0 else None for k in data.labels.tolist()]

    def told(pair: list[int], near: float, flagged: bool, check: str, more: dict[str, Any]) -> Finding:
        a, b = pair
        labels, splits = [label[a], label[b]], [] if split is None else [str(split[a]), str(split[b])]
        leak, differ = len(set(splits)) > 1, None not in labels and label[a] != label[b]
        words = ["identical pixels" if check == "exact_duplicate" else f"similarity {near:.3f}"]
        words += ["one mirrored"] if more.get("mirrored") else []
        words += [f"splits {splits[0]} and {splits[1]}"] if leak else []
        words += [f"labels {label[a]} and {label[b]}"] if differ else []
        return Finding(
            subject="pair",
            ids=(ids[a], ids[b]),
            score=min(max((1 + near) / 2, 0.0), 1.0),
            flagged=flagged,
            check=check,
            suggestion="split" if leak else "review" if differ else "drop",
            why=f"{ids[a]} and {ids[b]} show the same picture: " + ", ".join(words),
            evidence={"similarity": near, "distance": (1 - near) / 2, "labels": labels, "splits": splits, **more},
        )

    return told
