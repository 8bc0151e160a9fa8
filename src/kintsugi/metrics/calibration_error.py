"""Expected calibration error: by how much confidence and accuracy differ, bin by bin.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 5: ECE = sum_b (n_b / N) |acc_b - conf_b|,
over bins of the top probability, of equal width or of equal mass. ``norm=2`` takes the root of the weighted mean square
instead. The plug-in number is too large, since noise in a bin counts as error; debiased it is

- norm 2: sqrt(max(0, sum_b (n_b / N) ((acc_b - conf_b)^2 - acc_b (1 - acc_b) / (n_b - 1)))), Kumar, Liang and Ma,
  "Verified Uncertainty Calibration", NeurIPS 2019, section 4; a bin of one sample, whose noise cannot be estimated,
  is left as it is;
- norm 1: twice the estimate minus its mean over bootstrap draws (the same paper's appendix redraws acc_b from a
  normal law instead; we redraw samples, which needs no law). Near perfect calibration this removes only part of it.

The interval is that of a bootstrap over samples, corrected for the same upward pull. Beside it stands what a perfectly
calibrated model with these confidences would show: answers drawn right with the stated probability (Bröcker and Smith,
"Increasing the Reliability of Reliability Diagrams", 2007). Its mean is the baseline, and unless the value is beyond
97.5% of it the interval reaches down to 0. Measured on test sets of 200 (`kintsugi prove calibration_error`): of a
calibrated net the interval holds the truth in 97%, and debiasing removes two fifths of the error; of a miscalibrated
one it holds it in 87% alone, and debiasing changes nothing; hence "not proven".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.randomness import numpy_rng
from kintsugi.metrics.cells import check_draws, checked, estimate
from kintsugi.ops.statistics import percentile_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CARD = Card(
    name="calibration_error",
    kind="metric",
    title="expected calibration error over equal-width or equal-mass bins, with a debiased form",
    paper="Guo, Pleiss, Sun, Weinberger. On Calibration of Modern Neural Networks. ICML 2017.",
    card=0,
    status="not proven",
)
BINNINGS = ("width", "mass")


@dataclass
class CalibrationError:
    """Calibration error of the top probability.

    Args:
        bins: how many.
        binning: ``width`` (0..1 cut evenly) or ``mass`` (about as many samples each; equal values stay together).
        norm: 1 for the mean absolute gap, 2 for the root mean square.
        debias: take the upward pull of noise back.
        draws: bootstrap draws.
        seed: of those draws.
    """

    bins: int = 15
    binning: str = "width"
    norm: int = 1
    debias: bool = False
    draws: int = 1000
    seed: int = 0
    _seen: list[Floats] = field(default_factory=list, init=False, repr=False)
    _unlabelled: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        require(isinstance(self.bins, int) and self.bins >= 1, "bins", self.bins, "a whole number from 1")
        one_of("binning", self.binning, BINNINGS)
        require(self.norm in (1, 2), "norm", self.norm, "1 or 2")
        check_draws(self.draws, self.seed)

    def update(self, prob: NDArray[Any], label: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]``, -1 where unknown. Groups are not looked at."""
        p, y, _ = checked(prob, label, group)
        known = y >= 0
        self._unlabelled += int((~known).sum())
        if known.any():
            top = p[known].argmax(axis=1)
            self._seen.append(np.stack([p[known, top], top == y[known]], axis=1))

    def merge(self, other: CalibrationError) -> None:
        """Add what another accumulator saw."""
        self._seen.extend(other._seen)
        self._unlabelled += other._unlabelled

    def compute(self) -> dict[str, Any]:
        """The error under ``value``, its ``interval``, the ``baseline`` of a perfectly calibrated model and the
        ``p_value`` of being one, and every bin that has samples under ``bins``.

        Raises:
            BadData: no sample with a known label was added.
        """
        if not self._seen:
            raise BadData("No sample with a known label was added:", "calibration cannot be measured.")
        seen = np.concatenate(self._seen)
        seen = seen[np.lexsort((seen[:, 1], seen[:, 0]))]  # one order, whatever order the samples came in
        confidence, right = seen[:, 0], seen[:, 1]
        place = bin_of(confidence, self.bins, self.binning)
        size, hits, total = (_binned(place, v, self.bins) for v in (np.ones_like(right), right, confidence))
        plain = float(self._error(size, hits - total))
        drawn, calibrated = self._redraw(place, confidence, right)
        low, high = percentile_interval(drawn, estimate=plain)
        p_value = float((1 + (calibrated >= plain - 1e-12).sum()) / (1 + self.draws))
        low = 0.0 if p_value > 0.025 else max(low, 0.0)
        value = plain
        if self.debias:
            value = max(0.0, 2 * plain - float(drawn.mean())) if self.norm == 1 else self._debiased(size, hits, total)
        held = np.flatnonzero(size)
        return estimate(
            value,
            (min(low, value), max(high, value)),
            f"{'mean' if self.norm == 1 else 'root mean square'} over bins of equal {self.binning}, each weighing its "
            f"share of the samples{', debiased' if self.debias else ''}",
            count=len(seen),
            baseline=float(calibrated.mean()),
            p_value=p_value,
            bins=[
                {"count": int(size[b]), "confidence": float(total[b] / size[b]), "accuracy": float(hits[b] / size[b])}
                for b in held
            ],
            unknown={"label": self._unlabelled},
        )

    def _error(self, size: Floats, gap: Floats) -> Any:
        """The plug-in error; ``gap`` is a bin's sum of right minus confidence, ``[..., bins]``."""
        n = size.sum(axis=-1)
        if self.norm == 1:
            return np.abs(gap).sum(axis=-1) / n
        return np.sqrt(np.divide(gap**2, size, out=np.zeros_like(gap), where=size > 0).sum(axis=-1) / n)

    def _debiased(self, size: Floats, hits: Floats, total: Floats) -> float:
        held = size > 0
        n, accuracy, confidence = size[held], hits[held] / size[held], total[held] / size[held]
        noise = np.where(n > 1, accuracy * (1 - accuracy) / np.maximum(n - 1, 1), 0.0)
        square = n * ((accuracy - confidence) ** 2 - noise)
        return float(np.sqrt(max(0.0, square.sum() / n.sum())))

    def _redraw(self, place: NDArray[np.int64], confidence: Floats, right: Floats) -> tuple[Floats, Floats]:
        """The plug-in error of resampled samples, and that of answers drawn as the confidences say."""
        rng, gap = numpy_rng(self.seed, "calibration_error"), right - confidence
        whole = _binned(place, np.ones_like(gap), self.bins)
        resampled, calibrated = np.empty(self.draws), np.empty(self.draws)
        for draw in range(self.draws):
            rows = rng.integers(0, len(gap), size=len(gap))
            size, sums = (_binned(place[rows], v, self.bins) for v in (np.ones_like(gap), gap[rows]))
            resampled[draw] = self._error(size, sums)
            honest = (rng.random(len(gap)) < confidence) - confidence
            calibrated[draw] = self._error(whole, _binned(place, honest, self.bins))
        return resampled, calibrated


def _binned(place: NDArray[np.int64], value: Floats, bins: int) -> Floats:
    return np.bincount(place, weights=value, minlength=bins).astype(np.float64)


def bin_of(confidence: Floats, bins: int, binning: str) -> NDArray[np.int64]:
    """Bin of every confidence, int64 ``[N]`` in 0..bins-1; bins are closed above, (0, 1/M], as in the paper."""
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    else:
        ranks = np.ceil(np.arange(1, bins) * len(confidence) / bins).astype(int) - 1
        edges = np.sort(confidence)[np.maximum(ranks, 0)]
    return np.searchsorted(edges, confidence, side="left").astype(np.int64)
