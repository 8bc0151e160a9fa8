"""What a data set is worth for pretraining beside another: encoders trained on each, probed on the same targets.

Asano, Rupprecht, Zisserman and Vedaldi, "PASS: An ImageNet replacement for self-supervised pretraining without humans",
NeurIPS 2021, arXiv:2109.13228, trained MoCo-v2, SwAV and DINO with unchanged recipes on images without people and on
ImageNet and compared frozen linear probes. Here any way of pretraining is run on equal numbers of images of source A
and of source B, over seeds; a logistic probe on the frozen features answers for unseen images of each target.

The difference (B minus A) has a bootstrap interval in which runs and test images are both drawn anew. "No difference"
is shown, never inferred from a failed test: two one-sided tests, that is the 90% interval inside +-margin (Schuirmann
1987). Removing images changes what classes look like, so each class has its own difference with an exact sign test over
images, corrected for their number (Holm). The paper's budgets are not those of a laptop; detection and segmentation
transfer is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.core.progress import task
from kintsugi.core.randomness import derive, numpy_rng
from kintsugi.core.verdict import Effect, Verdict
from kintsugi.models.cache import embed
from kintsugi.ops.statistics import bootstrap_sums, holm, mcnemar, percentile_interval
from kintsugi.prove.pretext import learn_views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.kinds import Encoder, Model
    from kintsugi.data.imageset import ImageSet

    # A net that stays as it is, images whose labels are not to be looked at, and a seed.
    Pretrain = Callable[[Model, ImageSet, int], Encoder]

CARD = Card(
    name="pretraining_comparison",
    kind="study",
    title="Two sources of images compared as pretraining data, by probes on the same targets",
    paper="Asano et al., PASS: An ImageNet replacement for self-supervised pretraining without humans, NeurIPS 2021",
    card=108,
    code="https://github.com/yukimasano/PASS",
    status="not proven",
)


class PretrainingComparison:
    """Compares two sources.

    Args:
        pretrain: how a copy of a net learns from images; None is SimCLR
            (:func:`kintsugi.prove.pretext.learn_views`).
        column: column that says which of two sources an image is from, empty for images of the target; None for
            ``source``. The first of the two, in alphabetical order, is A.
        targets: train and test part of each target; None takes the data's images without a source, by split.
        images: images a source gives, at most; both give equally many.
        seeds: pretrainings of each net on each source.
        margin: difference in accuracy below which the sources count as equal.
        penalty: inverse strength of the probe's L2 penalty.
        draws: of the bootstrap.
    """

    def __init__(
        self,
        pretrain: Pretrain | None = None,
        *,
        column: str | None = None,
        targets: Mapping[str, tuple[ImageSet, ImageSet]] | None = None,
        images: int | None = None,
        seeds: int = 3,
        margin: float = 0.02,
        penalty: float = 1.0,
        draws: int = 2000,
    ) -> None:
        require(images is None or images >= 2, "images", images, "2 or more, or None")
        require(seeds >= 1, "seeds", seeds, "1 or more")
        require(0 < margin < 1, "margin", margin, "a share between 0 and 1")
        require(penalty > 0, "penalty", penalty, "a number above 0")
        require(draws >= 100, "draws", draws, "100 or more")
        self.pretrain: Pretrain = learn_views if pretrain is None else pretrain
        self.column, self.targets, self.images, self.seeds = column or "source", targets, images, seeds
        self.margin, self.penalty, self.draws = margin, penalty, draws

    def run(self, models: Sequence[Model], data: ImageSet, rng: int) -> tuple[Any, Verdict]:
        """Train, probe and compare.

        Args:
            models: the nets pretraining starts from; they stay as they are.
            data: the images of both sources, and those of the target unless ``targets`` were given.
            rng: seed.

        Returns:
            An Arrow table with a row for each net, seed, target and source, and the verdict on B against A, whose
            groups are the targets' classes.

        Raises:
            BadData: there are not two sources, or a target lacks a part or has one class.
        """
        import pyarrow as pa

        require(len(models) >= 1, "models", len(models), "at least one net")
        sources, targets = self._sources(data), self._targets(data)
        rows: list[dict[str, Any]] = []
        right: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
        with task("pretrain and probe", len(models) * self.seeds * 2) as tracker:
            for number, model in enumerate(models):
                for seed in range(self.seeds):
                    for source, images in self._equal(sources, derive(rng, "images", seed)).items():
                        encoder = self.pretrain(model, images, derive(rng, "pretrain", number, seed))
                        for target, (known, unseen) in targets.items():
                            hits = probe(encoder, known, unseen, self.penalty)
                            right.setdefault((target, source), []).append(hits)
                            facts = {"net": number, "seed": seed, "target": target, "source": source}
                            rows.append({**facts, "images": len(images), "accuracy": float(hits.mean())})
                        tracker.advance()
        a, b = sources
        before = {name: np.stack(right[name, a]) for name in targets}
        after = {name: np.stack(right[name, b]) for name in targets}
        return pa.Table.from_pylist(rows), self._verdict(before, after, targets, (a, b), rng)

    def _sources(self, data: ImageSet) -> dict[str, ImageSet]:
        values = np.array(["" if value is None else str(value) for value in data.column(self.column)])
        names = sorted(set(values.tolist()) - {""})
        if len(names) != 2:
            raise BadData(f"{self.column} names {len(names)} sources:", "this compares two.")
        return {name: data.where(values == name) for name in names}

    def _targets(self, data: ImageSet) -> dict[str, tuple[ImageSet, ImageSet]]:
        targets = self.targets
        if targets is None:
            rest = data.where(np.array([value is None or value == "" for value in data.column(self.column)]))
            targets = {"target": (rest.split("train"), rest.split("test"))}
        for name, (known, unseen) in targets.items():
            if len(np.unique(known.labels[known.labels >= 0])) < 2 or not len(unseen):
                raise BadData(f"The target {name!r} has one class, or no test images:", "a probe needs both.")
        return dict(targets)

    def _equal(self, sources: Mapping[str, ImageSet], seed: int) -> dict[str, ImageSet]:
        """Equally many images of each source, drawn anew."""
        count = min(*map(len, sources.values()), self.images or len(next(iter(sources.values()))))
        return {
            name: images.select(np.sort(numpy_rng(seed, name).permutation(len(images))[:count]))
            for name, images in sources.items()
        }

    def _verdict(
        self,
        before: Mapping[str, NDArray[np.float64]],
        after: Mapping[str, NDArray[np.float64]],
        targets: Mapping[str, tuple[ImageSet, ImageSet]],
        names: tuple[str, str],
        rng: int,
    ) -> Verdict:
        drawn = np.mean(
            [resampled(after[name] - before[name], self.draws, numpy_rng(rng, "draws", name)) for name in targets],
            axis=0,
        )
        effect = float(np.mean([(after[name] - before[name]).mean() for name in targets]))
        low, high = percentile_interval(drawn)
        inner = percentile_interval(drawn, 0.9)
        equal = -self.margin < inner[0] and inner[1] < self.margin
        word = "better" if low > 0 else "worse" if high < 0 else "not proven"
        groups = _by_class(before, after, targets, self.draws, rng)
        worse = tuple(each.group for each in groups if each.difference < 0 and (each.p_value or 1.0) < 0.05)
        said = "equal" if equal else "not shown to be equal"
        rule = (
            f"Mean probe accuracy of {names[1]} less that of {names[0]}, bootstrap over runs and test images; within "
            f"{self.margin:g} they are {said} (90% interval {inner[0]:+.3f} to {inner[1]:+.3f})."
        )
        return Verdict(word, effect, (low, high), rule, worse, groups)


def probe(encoder: Encoder, known: ImageSet, unseen: ImageSet, penalty: float = 1.0) -> NDArray[np.float64]:
    """Whether a logistic probe on frozen features is right on each unseen image, float ``[N]`` of 0 and 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = embed(encoder, known, batch_size=256), embed(encoder, unseen, batch_size=256)
    usable = np.isfinite(train).all(axis=1) & (known.labels >= 0)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
    head.fit(train[usable], known.labels[usable])
    readable = np.isfinite(test).all(axis=1)
    hits = np.zeros(len(unseen))
    hits[readable] = head.predict(test[readable]) == unseen.labels[readable]
    return hits


def resampled(difference: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of differences ``[runs, images]`` when both are drawn anew; a drawn image is drawn for all runs."""
    runs = len(difference)
    sums = bootstrap_sums(difference.T, draws, rng)
    picked = rng.multinomial(runs, np.full(runs, 1 / runs), size=draws)
    return np.asarray((sums * picked).sum(axis=1) / difference.size)


def _by_class(
    before: Mapping[str, NDArray[np.float64]],
    after: Mapping[str, NDArray[np.float64]],
    targets: Mapping[str, tuple[ImageSet, ImageSet]],
    draws: int,
    rng: int,
) -> tuple[Effect, ...]:
    """Every class's difference; an image counts for the source whose probes are right on it more often."""
    found, p_values = [], []
    for name, (_, unseen) in targets.items():
        for k in np.unique(unseen.labels[unseen.labels >= 0]):
            mine = unseen.labels == k
            old, new = before[name][:, mine], after[name][:, mine]
            each = (new - old).mean(axis=0)
            p_values.append(float(mcnemar(int((each > 0).sum()), int((each < 0).sum()))))
            drawn = resampled(new - old, draws, numpy_rng(rng, "class", name, int(k)))
            label = f"{name}, label={unseen.classes[k]}" if len(targets) > 1 else f"label={unseen.classes[k]}"
            accuracies = float(old.mean()), float(new.mean())
            found.append((label, int(mine.sum()), *accuracies, float(each.mean()), percentile_interval(drawn)))
    return tuple(Effect(*each, float(p)) for each, p in zip(found, holm(np.array(p_values)), strict=True))
