"""Cosine prototypes: one vector a level, tuned on rated embeddings, and what held-out ratings say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from kintsugi.core.progress import track
from kintsugi.core.randomness import draw_seed
from kintsugi.ops.neighbours import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Start = Callable[[NDArray[np.int64]], NDArray[Any]]  # rows that may be used, to the vectors tuning starts from

BLOCK = 65_536  # embeddings rated at a time
STOPS = (0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500)  # steps after which tuning may end


@dataclass(frozen=True)
class Tuning:
    """How prototypes are tuned: ``softmax_c(scale * cos(z, v_c))`` by cross-entropy and gradient descent.

    Attributes:
        scale: what cosines are multiplied by; without it the softmax hardly moves and learning stalls.
        epochs: steps over all ratings, at most.
        lr: of gradient descent.
        momentum: of gradient descent.
    """

    scale: float = 100.0
    epochs: int = 300
    lr: float = 0.01
    momentum: float = 0.9

    @property
    def stops(self) -> tuple[int, ...]:
        """Steps after which tuning may end: some of the first, fewer later, and the last."""
        return (*(stop for stop in STOPS if stop < self.epochs), self.epochs)

    def tune(self, space: NDArray[Any], level: NDArray[np.int64], start: NDArray[Any]) -> NDArray[np.float64]:
        """Unit vectors ``[S, L, D]`` that fit embeddings ``[R, D]`` of known levels, from ``start``, at every stop."""
        image = torch.from_numpy(unit(space)).double()
        target = torch.from_numpy(level)
        vectors = functional.normalize(torch.from_numpy(np.asarray(start, dtype=np.float64)), dim=1).requires_grad_()
        optimizer = torch.optim.SGD([vectors], lr=self.lr, momentum=self.momentum)
        stops, kept = frozenset(self.stops), [vectors.detach().numpy().copy()]
        for step in range(1, self.epochs + 1):
            optimizer.zero_grad()
            functional.cross_entropy(self.scale * image @ functional.normalize(vectors, dim=1).T, target).backward()
            optimizer.step()
            with torch.no_grad():
                vectors.copy_(functional.normalize(vectors, dim=1))
            if step in stops:
                kept.append(vectors.detach().numpy().copy())
        return np.stack(kept)

    def rate(self, space: NDArray[Any], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """p of each level, float64 ``[N, L]``; NaN rows stay NaN."""
        from scipy.special import softmax

        prob = np.empty((len(space), len(vectors)))
        for top in range(0, len(space), BLOCK):
            part = slice(top, top + BLOCK)
            prob[part] = softmax(self.scale * (unit(space[part]) @ vectors.T), axis=1)
        return prob


@dataclass(frozen=True)
class HeldOut:
    """What ratings that tuning did not see say.

    Attributes:
        stop: place of the stop after which they are rated best; the last where nothing can be told.
        report: figures at that stop, empty where nothing can be told.
        notes: why there are none.
    """

    stop: int
    report: dict[str, float]
    notes: tuple[str, ...] = ()


def held_out(
    how: Tuning,
    space: NDArray[Any],
    rating: NDArray[np.float64],
    level: NDArray[np.int64],
    start: Start,
    cut: float,
    splits: int,
    rng: np.random.Generator,
    *,
    early: bool = True,
) -> HeldOut:
    """When to stop, and figures on ratings that tuning did not see: without the middle, and over the full range.

    Ratings between the levels are never tuned on and are rated by every split; a tenth of the others is held out in
    each. The stop has the least mean cross-entropy of held-out levels; of equal ones the first. Figures are of the mean
    p over the splits an image was held out in.

    Args:
        how: the tuning.
        space: embeddings ``[N, D]``.
        rating: float ``[N]``, NaN where nobody rated.
        level: int ``[N]``, -1 between the levels and where nobody rated.
        start: where tuning starts from, given the rows it may look at.
        cut: rating that parts the full range.
        splits: number of splits.
        rng: draws them.
        early: whether tuning may stop before its last step.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    last = len(how.stops) - 1
    used, middle = np.flatnonzero(level >= 0), np.flatnonzero((level < 0) & np.isfinite(rating))
    levels = int(level.max()) + 1
    held = max(levels, -(-len(used) // 10))
    if np.bincount(level[used]).min() < 2 or len(used) - held < levels:
        why = "Cannot tell how good the ratings are, nor when to stop: a level has fewer than two rated images."
        return HeldOut(last, {}, (why,))
    rated = np.concatenate([used, middle])  # what is remembered is of these alone: the data may be far larger
    total, times = np.zeros((last + 1, len(rated), levels)), np.zeros(len(rated))
    place = np.zeros(len(level), dtype=np.int64)
    place[rated] = np.arange(len(rated))
    loss = np.zeros(last + 1)
    shuffle = StratifiedShuffleSplit(splits, test_size=held, random_state=draw_seed(rng) % 2**32)
    for train, test in track(list(shuffle.split(used, level[used])), "held-out ratings"):
        rows = np.concatenate([used[test], middle])
        tuned = how.tune(space[used[train]], level[used[train]], start(used[train]))
        made = np.stack([how.rate(space[rows], vectors) for vectors in tuned])
        own = made[:, np.arange(len(test)), level[used[test]]]
        loss -= np.log(np.maximum(own, 1e-12)).mean(axis=1)
        total[:, place[rows]] += made
        times[place[rows]] += 1
    stop = int(loss.argmin()) if early else last
    seen = np.flatnonzero(times)
    rows = rated[seen]
    return HeldOut(stop, _figures(total[stop][seen] / times[seen, None], rating[rows], level[rows], cut))


def _figures(
    prob: NDArray[np.float64], rating: NDArray[np.float64], level: NDArray[np.int64], cut: float
) -> dict[str, float]:
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    kept, first = level >= 0, prob[:, 0]
    below, worst = rating < cut, level == 0
    report = {"accuracy without the middle": float((prob[kept].argmax(1) == level[kept]).mean())}
    if 0 < worst[kept].sum() < kept.sum():
        report["AUROC without the middle"] = float(roc_auc_score(worst[kept], first[kept]))
    if 0 < below.sum() < len(below):
        report["AUROC over all ratings"] = float(roc_auc_score(below, first))
    if np.ptp(first) > 0 and np.ptp(rating) > 0:
        report["rank correlation over all ratings"] = float(spearmanr(-rating, first).statistic)
    return report
