"""Do conclusions drawn on small images hold on large ones? Settings are ranked at several sizes and the ranks compared.

Chrabaszcz, Loshchilov and Hutter, "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets",
arXiv:1707.08819: the best learning rate and width are about the same at 16, 32 and 64 pixels, so one may search at the
small size. Every setting is trained at every size from the same weights; its score is the mean accuracy over
seeds. For a proxy size the study states Spearman's correlation of the scores with those at the largest size, and the
price of trusting it: the best score at the largest size less that of the setting the proxy would have chosen.

The verdict asks whether the proxy is of any use: at the largest size, is the setting it chooses better than the mean of
all settings, which a blind choice gets? Settings are ranked on the split ``val`` where there is one and judged on
``test``. Their recipe (Wide ResNet, SGD with momentum 0.9, the rate divided by 5 every tenth of 40 epochs) is not
repeated: nets and schedules are the caller's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.progress import task
from kintsugi.core.randomness import derive, torch_rng
from kintsugi.core.verdict import Verdict
from kintsugi.data.compose.downsample import FILTERS, downsample
from kintsugi.models.base import TorchModel
from kintsugi.models.predict import predict
from kintsugi.models.small import small_net
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

    Build = Callable[[int, torch.Generator], nn.Module]  # number of classes and a stream, to a net

CARD = Card(
    name="proxy_study",
    kind="study",
    title="Whether settings chosen on small images are the right ones for large images",
    paper="Chrabaszcz et al., A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets, 2017",
    card=52,
    code="https://github.com/PatrykChrabaszcz/Imagenet32_Scripts",
    status="not proven",
)

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class CarryOver:
    """How a proxy size speaks for the largest.

    Attributes:
        rank: Spearman's correlation of the settings' scores; NaN where all scores at one size are equal.
        chosen: the setting the proxy chooses.
        loss: best score at the largest size less that of the chosen setting, in shares.
        gain: score of the chosen setting at the largest size less the mean of all, in shares, one a seed.
    """

    rank: float
    chosen: str
    loss: float
    gain: NDArray[np.float64]


class ProxyStudy:
    """Ranks settings across sizes.

    Args:
        sizes: sides in pixels, the last the one that matters; None takes a quarter, a half and all of the images' own.
        settings: how to train, by name; None for six learning rates of SGD with momentum 0.9.
        resample: filter that makes images small.
        epochs: of the settings that are not given.
        seeds: trainings of each setting at each size.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int] | None = None,
        settings: Mapping[str, Training] | None = None,
        resample: str = "box",
        epochs: int = 5,
        seeds: int = 2,
    ) -> None:
        ok = sizes is None or (len(sizes) >= 2 and min(sizes) >= 4 and list(sizes) == sorted(set(sizes)))
        require(ok, "sizes", sizes, "two or more sides from 4 pixels, rising")
        require(settings is None or len(settings) >= 3, "settings", settings, "three or more, to be ranked")
        one_of("resample", resample, tuple(FILTERS))
        require(epochs >= 1, "epochs", epochs, "1 or more")
        require(seeds >= 1, "seeds", seeds, "1 or more")
        self.sizes, self.resample, self.seeds = sizes, resample, seeds
        plain = Training(epochs=epochs, optimizer="sgd", schedule="cosine")
        self.settings = dict(settings or {f"lr {rate:g}": replace(plain, lr=rate) for rate in RATES})

    def run(self, models: Sequence[str | nn.Module | Build], data: ImageSet, rng: int) -> tuple[Any, Verdict]:
        """Train every net with every setting at every size.

        Args:
            models: names of small nets (``cnn``, ``resnet20``), what builds a net, or nets for images of any size, of
                which copies are trained from the weights they have.
            data: with splits ``train`` and ``test``, and ``val`` to rank on.
            rng: seed.

        Returns:
            An Arrow table with a row for each net, size, setting and seed (accuracies on ``val`` and ``test``), and the
            verdict on the smallest size, over all nets.
        """
        import pyarrow as pa

        require(len(models) >= 1, "models", len(models), "at least one net")
        sizes = self._sizes(data)
        rows: list[dict[str, Any]] = []
        with task("train", len(models) * len(sizes) * len(self.settings) * self.seeds) as tracker:
            for size in sizes:
                small = downsample(data, size, self.resample)
                train, test = small.split("train"), small.split("test")
                ranked = small.split("val") if "val" in set(small.column("split").tolist()) else test
                for number, build in enumerate(models):
                    name = build if isinstance(build, str) else f"net {number}"
                    for setting, how in self.settings.items():
                        for seed in range(self.seeds):
                            model = self._trained(build, train, how, derive(rng, name, seed))
                            scores = {"val": _accuracy(model, ranked), "test": _accuracy(model, test)}
                            rows.append({"model": name, "size": size, "setting": setting, "seed": seed, **scores})
                            tracker.advance()
        table = pa.Table.from_pylist(rows)
        names = list(dict.fromkeys(row["model"] for row in rows))
        said = [carry_over(table, name, sizes[0], sizes[-1]) for name in names]
        return table, self._verdict(said, sizes)

    def _sizes(self, data: ImageSet) -> list[int]:
        if self.sizes is not None:
            return list(self.sizes)
        if not len(data):
            raise BadData("There are no images:", "give some, or the sizes.")
        own = min(data[0].image.shape[:2])
        return sorted({max(4, own // part) for part in (4, 2, 1)})

    def _trained(self, build: str | nn.Module | Build, train: ImageSet, how: Training, seed: int) -> nn.Module:
        stream = torch_rng(seed, "weights")
        count = len(train.classes)
        if isinstance(build, nn.Module):
            net = copy.deepcopy(build)
        else:
            net = small_net(build, count, stream) if isinstance(build, str) else build(count, stream)
        model = net if hasattr(net, "classes") else TorchModel(net, train.classes)
        fit(model, train, ERM(), how=how, rng=seed)
        return model

    def _verdict(self, said: list[CarryOver], sizes: Sequence[int]) -> Verdict:
        """Gain over a blind choice, one number a net and seed, with Student's interval."""
        from scipy.stats import t

        gain = np.concatenate([each.gain for each in said])
        effect = float(gain.mean())
        half = float(t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else np.inf
        low, high = effect - half, effect + half
        word = "better" if low > 0 else "worse" if high < 0 else "not proven"
        told = "; ".join(f"rank correlation {x.rank:.2f}, {x.chosen} loses {100 * x.loss:.1f} points" for x in said)
        rule = (
            f"Accuracy at {sizes[-1]} px of the setting chosen at {sizes[0]} px, less the mean of {len(self.settings)} "
            f"settings, {len(gain)} runs with Student's interval. {told}."
        )
        return Verdict(word, effect, (low, high), rule)


def carry_over(table: Any, model: str, proxy: int, full: int) -> CarryOver:
    """What one size says of another, from the study's table: ranked on ``val`` at the proxy, judged on ``test``."""
    from scipy.stats import spearmanr

    rows = [row for row in table.to_pylist() if row["model"] == model]
    names = list(dict.fromkeys(row["setting"] for row in rows))

    def scores(size: int, part: str) -> NDArray[np.float64]:
        """``[settings, seeds]``."""
        return np.array([[r[part] for r in rows if r["size"] == size and r["setting"] == name] for name in names])

    small, large = scores(proxy, "val").mean(axis=1), scores(full, "test")
    mean = large.mean(axis=1)
    constant = np.ptp(small) == 0 or np.ptp(mean) == 0
    rank = float("nan") if constant else float(spearmanr(small, mean).statistic)
    chosen = int(small.argmax())  # of equal ones the first
    return CarryOver(rank, names[chosen], float(mean.max() - mean[chosen]), large[chosen] - large.mean(axis=0))


def _accuracy(model: nn.Module, data: ImageSet) -> float:
    return float((predict(model, data, batch_size=512).predicted == data.labels).mean())
