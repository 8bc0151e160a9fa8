"""Averages of weights by a power function of time, and any other length of average made after training.

Karras et al. (2023), arXiv 2312.02696, section 3 and appendix C. Two averages of fixed length are kept and stored now
and then; the average of any length at any stored time is their least-squares combination.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kintsugi.core.errors import BadArgument, require


def exponent(width: float) -> float:
    """Exponent gamma of the profile of relative standard deviation ``width`` (eq. 123): 0.05 is 16.97, 0.10 is 6.94."""
    require(0 < width < 0.288, "width", width, "a number above 0 and below 0.288, the width of a plain mean")
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    return float(roots[np.abs(roots.imag) < 1e-9].real.max())


def width_of(gamma: float) -> float:
    """Relative standard deviation of the profile t^gamma (eq. 121)."""
    return float(np.sqrt(gamma + 1) / ((gamma + 2) * np.sqrt(gamma + 3)))


def decay(step: int, gamma: float) -> float:
    """Weight of the old average at ``step`` (from 1), so that it weighs time as t^gamma (eq. 127)."""
    return float((1 - 1 / step) ** (gamma + 1))


@dataclass(frozen=True)
class Snapshot:
    """One stored average: when, of which exponent, and its tensors."""

    step: int
    gamma: float
    state: Mapping[str, torch.Tensor]


@dataclass
class PowerEMA:
    """Averages of a model's tensors while it trains; a hook of the training loop.

    Args:
        widths: relative standard deviation of each average; two make any other length possible afterwards.
        every: steps between snapshots; None stores only when :meth:`store` is called.
    """

    widths: tuple[float, ...] = (0.05, 0.10)
    every: int | None = None
    step: int = 0
    averages: list[dict[str, torch.Tensor]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gammas = tuple(exponent(width) for width in self.widths)

    @torch.no_grad()
    def update(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take in the weights after one more step."""
        self.step += 1
        if not self.averages:
            self.averages = [{k: v.detach().clone() for k, v in state.items()} for _ in self.gammas]
            return
        for gamma, average in zip(self.gammas, self.averages, strict=True):
            share = 1 - decay(self.step, gamma)
            for name, value in state.items():
                if value.is_floating_point():
                    average[name].lerp_(value.to(average[name].dtype), share)
                else:
                    average[name].copy_(value)

    def store(self) -> None:
        """Keep a snapshot of each average."""
        for gamma, average in zip(self.gammas, self.averages, strict=True):
            self.snapshots.append(Snapshot(self.step, gamma, {k: v.clone() for k, v in average.items()}))

    def on_step(self, loop: Any) -> None:
        """Follow the model of a training loop."""
        self.update(loop.model.state_dict())
        if self.every is not None and self.step % self.every == 0:
            self.store()

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors by flat name, for the loop's checkpoint."""
        made = {"step": torch.tensor(self.step)}
        for track, average in enumerate(self.averages):
            made |= {f"average/{track}/{name}": value for name, value in average.items()}
        for number, snap in enumerate(self.snapshots):
            made[f"snapshot/{number}"] = torch.tensor([snap.step, snap.gamma], dtype=torch.float64)
            made |= {f"stored/{number}/{name}": value for name, value in snap.state.items()}
        return made

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state` gave."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self.step = int(state["step"])
        self.averages = [part(f"average/{track}/") for track in range(len(self.gammas))] if self.step else []
        times = sorted(part("snapshot/").items(), key=lambda item: int(item[0]))
        self.snapshots = [Snapshot(int(when[0]), float(when[1]), part(f"stored/{n}/")) for n, when in times]

    def average(self, width: float, step: int | None = None) -> dict[str, torch.Tensor]:
        """The average of relative length ``width`` at ``step`` (default: the last stored one)."""
        return posthoc_ema(self.snapshots, width, step)


def _product(ta: Any, ga: Any, tb: Any, gb: Any) -> Any:
    """Inner product of two profiles, each a pair of end time and exponent (eq. 151)."""
    ratio = ta / tb
    power = np.where(ta < tb, gb, -ga)
    return (ga + 1) * (gb + 1) * ratio**power / ((ga + gb + 1) * np.maximum(ta, tb))


def mixture(stored: Sequence[tuple[float, float]], step: float, gamma: float) -> np.ndarray[Any, Any]:
    """Weights, summing to 1, that combine the stored profiles ``(step, gamma)`` into the wanted one (eq. 139)."""
    # float64: neighbouring profiles overlap so much that the system is ill-conditioned.
    t, g = np.asarray(stored, dtype=np.float64).T
    a = _product(t[:, None], g[:, None], t[None, :], g[None, :])
    weights = np.linalg.lstsq(a, _product(t, g, float(step), float(gamma)), rcond=None)[0]
    return np.asarray(weights / weights.sum())


def posthoc_ema(snapshots: Iterable[Snapshot], width: float, step: int | None = None) -> dict[str, torch.Tensor]:
    """The average of relative length ``width`` that ended at ``step``, from stored ones.

    Args:
        snapshots: averages stored at regular times, of two exponents or more.
        width: relative standard deviation wanted.
        step: when it ends, by default at the last snapshot; later snapshots take no part.

    Raises:
        BadArgument: nothing is stored up to ``step``.
    """
    known = list(snapshots)
    end = max((snap.step for snap in known), default=0) if step is None else step
    used = [snap for snap in known if snap.step <= end]
    if not used:
        raise BadArgument.of("step", step, "one at which, or before which, averages were stored")
    weights = mixture([(snap.step, snap.gamma) for snap in used], end, exponent(width))
    made = {}
    for name, last in used[-1].state.items():
        if not last.is_floating_point():
            made[name] = last.clone()
            continue
        total = torch.zeros(last.shape, dtype=torch.float64)
        for weight, snap in zip(weights, used, strict=True):
            total += float(weight) * snap.state[name].detach().cpu().double()
        made[name] = total.to(last.dtype).to(last.device)
    return made
