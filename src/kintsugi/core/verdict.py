"""`Verdict`: better, worse, or not proven, with the effect, its interval, the rule, and the groups that got worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kintsugi.core.errors import one_of

WORDS = ("better", "worse", "not proven")


def listed(names: Sequence[str]) -> str:
    """Names of groups in one line, each quoted, since they hold commas: ``'label=cat, place=sea', 'label=dog'``."""
    return ", ".join(map(repr, names))


@dataclass(frozen=True, slots=True)
class Effect:
    """One group's accuracy before and after, in shares (0..1).

    Attributes:
        group: name, or ``worst group`` / ``average``.
        count: samples it rests on.
        before: accuracy before.
        after: accuracy after.
        difference: after minus before.
        interval: 95% interval of the difference.
        p_value: exact McNemar, corrected for the number of groups; None where it does not apply.
    """

    group: str
    count: int
    before: float
    after: float
    difference: float
    interval: tuple[float, float]
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A paired comparison's answer.

    Attributes:
        word: one of :data:`WORDS`.
        effect: change of the deciding number, in shares.
        interval: its 95% interval.
        rule: the rule that decided, in one sentence.
        worse: names of groups that got significantly worse.
        groups: every group's effect.
    """

    word: str
    effect: float
    interval: tuple[float, float]
    rule: str
    worse: tuple[str, ...] = ()
    groups: tuple[Effect, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        one_of("word", self.word, WORDS)

    def __str__(self) -> str:
        low, high = self.interval
        line = f"{self.word}: {100 * self.effect:+.1f} points (95% interval {100 * low:+.1f} to {100 * high:+.1f})"
        if self.worse:
            line += f"; got worse: {listed(self.worse)}"
        return line

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)
