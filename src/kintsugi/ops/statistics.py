"""Intervals and tests: binomial intervals, the cluster bootstrap, exact McNemar, permutation tests, Holm's correction.

Everything is vectorised, works on counts where counts suffice, and draws only from the generator it is given.
Proportions are shares in 0..1, intervals are two-sided, and ``level`` is their nominal coverage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_BLOCK = 4_000_000  # numbers held at once while drawing: 32 MB


def _counts(success: ArrayLike, total: ArrayLike) -> tuple[Floats, Floats]:
    k, n = np.broadcast_arrays(np.asarray(success, dtype=np.float64), np.asarray(total, dtype=np.float64))
    require(bool((n >= 0).all()), "total", total, "counts from 0")
    require(bool(((k >= 0) & (k <= n)).all()), "success", success, "counts from 0 to total")
    return k, n


def _check(level: float, draws: int = 1) -> None:
    require(0.0 < level < 1.0, "level", level, "a number between 0 and 1")
    require(draws >= 1, "draws", draws, "a whole number from 1")


# ------------------------------------------------------------------------------------------------- proportions


def wilson(success: ArrayLike, total: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of proportions (Wilson 1927), the solutions p of (k/n - p)^2 = z^2 p (1 - p) / n.

    Args:
        success: counts ``[...]``.
        total: counts ``[...]``; where 0, the interval is 0..1.
        level: nominal coverage.

    Returns:
        Lower and upper ends, float64 ``[...]``.
    """
    from scipy.special import ndtri

    _check(level)
    k, n = _counts(success, total)
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (k * (n - k) / np.maximum(n, 1) + z2 / 4)) / (n + z2)
    # The ends at k = 0 and k = n are exactly 0 and 1; rounding must not say otherwise.
    low = np.where(k == 0, 0.0, np.maximum(centre - half, 0.0))
    return low, np.where(k == n, 1.0, np.minimum(centre + half, 1.0))


def clopper_pearson(success: ArrayLike, total: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """The exact interval of proportions (Clopper and Pearson 1934): never covers less than ``level``.

    Shapes as for :func:`wilson`.
    """
    from scipy.special import betaincinv

    _check(level)
    k, n = _counts(success, total)
    tail = (1.0 - level) / 2
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1.0 - tail), 1.0)
    return low, high


def jeffreys_draws(success: ArrayLike, total: ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """Draws of each proportion from Beta(k + 1/2, n - k + 1/2), float64 ``[draws, ...]``.

    For intervals of any function of independent proportions (their mean, their minimum): equal tails of the function's
    draws cover well even when a count is 0 (Brown, Cai and DasGupta 2001), where a bootstrap has no spread at all.
    """
    _check(0.5, draws)
    k, n = _counts(success, total)
    return rng.beta(k + 0.5, n - k + 0.5, size=(draws, *k.shape))


# --------------------------------------------------------------------------------------------------- bootstrap


def percentile_interval(
    draws: ArrayLike, level: float = 0.95, *, estimate: float | None = None, weight: ArrayLike | None = None
) -> tuple[float, float]:
    """Equal-tailed interval of draws; NaN draws are left out.

    Args:
        draws: float ``[R]``.
        level: nominal coverage.
        estimate: the statistic on the data itself. If given, the interval is corrected for bias: a statistic such as
            a spread, an absolute error or a minimum moves away from the estimate in the draws about as much as the
            estimate has already moved away from the truth, so both moves are taken back (Efron and Tibshirani 1993,
            chapter 10).
        weight: importance of each draw, float ``[R]``; None for all 1.
    """
    _check(level)
    values = np.asarray(draws, dtype=np.float64).ravel()
    kept = ~np.isnan(values)
    require(bool(kept.any()), "draws", draws, "at least one number")
    tails = np.array([(1.0 - level) / 2, (1.0 + level) / 2])
    if weight is None:
        ends, centre = np.quantile(values[kept], tails), values[kept].mean()
    else:
        w = np.asarray(weight, dtype=np.float64).ravel()
        require(w.shape == values.shape and bool((w >= 0).all()), "weight", weight, "one number from 0 a draw")
        ends, centre = weighted_quantile(values[kept], w[kept], tails), np.average(values[kept], weights=w[kept])
    if estimate is not None:
        ends = ends - 2.0 * (centre - estimate)
    return float(ends[0]), float(ends[1])


def weighted_quantile(value: ArrayLike, weight: ArrayLike, q: ArrayLike) -> Floats:
    """Quantiles ``q`` of weighted values: the smallest value whose cumulative weight reaches ``q`` of the whole."""
    x, w = np.asarray(value, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    order = np.argsort(x, kind="stable")
    share = np.cumsum(w[order])
    require(len(x) > 0 and share[-1] > 0, "weight", weight, "weights with a sum above 0")
    place = np.searchsorted(share, np.asarray(q, dtype=np.float64) * share[-1] * (1 - 1e-12))
    return x[order][np.minimum(place, len(x) - 1)]


def cluster_sums(cluster: ArrayLike | None, columns: ArrayLike) -> Floats:
    """Sum the columns of samples that share a cluster.

    Args:
        cluster: what each sample comes from, any values ``[N]`` (a source image, a patient); None: each is its own.
        columns: float ``[N, S]``.

    Returns:
        float64 ``[C, S]``, clusters in order of first appearance.
    """
    table = np.asarray(columns, dtype=np.float64)
    if cluster is None:
        return table
    number = appearance(cluster)
    require(len(number) == len(table), "cluster", len(number), f"one value for each of the {len(table)} samples")
    sums = np.zeros((int(number.max(initial=-1)) + 1, table.shape[1]))
    np.add.at(sums, number, table)
    return sums


def appearance(values: ArrayLike) -> NDArray[np.int64]:
    """Number distinct values in order of first appearance, int64 ``[N]``."""
    flat = np.asarray(values)
    texts = flat.astype(str) if flat.dtype == object else flat
    _, first, member = np.unique(texts, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[member]


def bootstrap_sums(rows: ArrayLike, draws: int, rng: np.random.Generator, *, count: ArrayLike | None = None) -> Floats:
    """Resample rows with replacement and sum them, many times.

    Equal rows are interchangeable, so a draw is a multinomial over the *distinct* rows: for right or wrong answers in a
    few groups its cost does not depend on the number of samples at all. Statistics that are functions of sums (means,
    ratios, minima over groups) are then computed on all draws at once.

    Args:
        rows: float ``[C, S]``, one row a cluster (:func:`cluster_sums`).
        draws: how many.
        rng: drawn from.
        count: how often each row occurs, whole numbers ``[C]``; None for once each.

    Returns:
        float64 ``[draws, S]``.
    """
    _check(0.5, draws)
    table = np.asarray(rows, dtype=np.float64)
    require(table.ndim == 2 and len(table) > 0, "rows", table.shape, "at least one row of [C, S]")
    times = np.ones(len(table), dtype=np.int64) if count is None else np.asarray(count, dtype=np.int64)
    require(times.shape == (len(table),), "count", times.shape, f"one number for each of the {len(table)} rows")
    distinct, first, member = np.unique(table, axis=0, return_index=True, return_inverse=True)
    # In order of first appearance, so that exchanging two columns exchanges the draws and changes nothing else.
    order = np.argsort(first)
    distinct, weight = distinct[order], np.bincount(member.ravel(), weights=times)[order]
    size = int(times.sum())
    sums = np.empty((draws, table.shape[1]))
    block = max(1, _BLOCK // len(distinct))
    for start in range(0, draws, block):
        stop = min(start + block, draws)
        sums[start:stop] = rng.multinomial(size, weight / size, size=stop - start) @ distinct
    return sums


def paired_bootstrap(
    before: ArrayLike,
    after: ArrayLike,
    draws: int,
    rng: np.random.Generator,
    *,
    cluster: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> Floats:
    """Draws of the (weighted) mean of ``after - before``, whole clusters resampled, float64 ``[draws]``.

    Args:
        before: float ``[N]``, such as 1 where right and 0 where wrong.
        after: the same samples, float ``[N]``.
        draws: how many.
        rng: drawn from.
        cluster: what each sample comes from, ``[N]``: renderings of one source image are one observation.
        weight: float ``[N]``; None for all 1.
    """
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    w = np.ones_like(change) if weight is None else np.asarray(weight, dtype=np.float64)
    sums = bootstrap_sums(cluster_sums(cluster, np.stack([w * change, w], axis=1)), draws, rng)
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(draws, np.nan), where=sums[:, 1] > 0)


# ------------------------------------------------------------------------------------------------------- tests


def mcnemar(gained: ArrayLike, lost: ArrayLike) -> Floats:
    """Exact two-sided McNemar test: are changes in one direction as likely as in the other?

    Under the null hypothesis ``gained`` is Binomial(gained + lost, 1/2), so p = min(1, 2 P(X <= min(gained, lost))).

    Args:
        gained: samples wrong before and right after, counts ``[...]``.
        lost: samples right before and wrong after, counts ``[...]``.

    Returns:
        p values, float64 ``[...]``; 1 where nothing changed.
    """
    from scipy.special import bdtr

    b, c = np.broadcast_arrays(np.asarray(gained, dtype=np.int64), np.asarray(lost, dtype=np.int64))
    require(bool((b >= 0).all() and (c >= 0).all()), "gained", gained, "counts from 0")
    return np.asarray(np.minimum(1.0, 2.0 * bdtr(np.minimum(b, c).astype(np.float64), b + c, 0.5)), dtype=np.float64)


def holm(p_value: ArrayLike) -> Floats:
    """Holm's step-down correction (Holm 1979): the chance of any false claim among all stays below the level.

    Args:
        p_value: float ``[G]`` in 0..1.

    Returns:
        Corrected p values in the given order, float64 ``[G]``.
    """
    p = np.asarray(p_value, dtype=np.float64)
    require(p.ndim == 1 and bool(((p >= 0) & (p <= 1)).all()), "p_value", p_value, "numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def permutation_test(value: ArrayLike, member: ArrayLike, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Do members differ from the others in the mean? Two-sided, membership shuffled.

    Args:
        value: float ``[N]``.
        member: bool ``[N]``, with some of both.
        draws: shuffles; the smallest p value is 1 / (draws + 1).
        rng: drawn from.

    Returns:
        The difference of means (members minus others) and its p value.
    """
    _check(0.5, draws)
    x, inside = np.asarray(value, dtype=np.float64), np.asarray(member, dtype=bool)
    size = int(inside.sum())
    require(x.shape == inside.shape and 0 < size < len(x), "member", member, "some of the samples, not none or all")

    def difference(total: Any) -> Any:
        return total / size - (x.sum() - total) / (len(x) - size)

    seen = float(difference(x[inside].sum()))
    extreme = 0
    block = max(1, _BLOCK // len(x))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        chosen = rng.permuted(np.broadcast_to(inside, (count, len(x))), axis=1)
        extreme += _beyond(difference(chosen @ x), seen, x)
    return seen, (1 + extreme) / (1 + draws)


def sign_flip_test(difference: ArrayLike, draws: int, rng: np.random.Generator) -> float:
    """Is the mean of paired differences zero? Two-sided, signs flipped; exact where all flips are within ``draws``.

    Args:
        difference: float ``[N]``, such as one a seed.
        draws: most flips to try.
        rng: drawn from unless exact.

    Returns:
        The p value: extreme flips over all 2^N flips, or (1 + extreme) / (1 + draws).
    """
    _check(0.5, draws)
    d = np.asarray(difference, dtype=np.float64)
    require(d.ndim == 1 and len(d) > 0, "difference", difference, "at least one number")
    if len(d) < 60 and 2 ** len(d) <= draws:
        bits = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1
        return _beyond((1 - 2 * bits) @ d, float(d.sum()), d) / len(bits)
    extreme = 0
    block = max(1, _BLOCK // len(d))
    for start in range(0, draws, block):
        bits = rng.integers(0, 2, size=(min(block, draws - start), len(d)))
        extreme += _beyond((1 - 2 * bits) @ d, float(d.sum()), d)
    return (1 + extreme) / (1 + draws)


def _beyond(drawn: Floats, seen: float, value: Floats) -> int:
    """Draws at least as far from zero as what was seen; equal sums in another order must count as equal."""
    slack = 1e-12 * (np.abs(value).sum() + 1.0)
    return int((np.abs(drawn) >= abs(seen) - slack).sum())
