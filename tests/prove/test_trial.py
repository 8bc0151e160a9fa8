"""Claims: proven only when the mean is past the margin and the interval clear of zero; runs resume."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument
from kintsugi.core.run import Run
from kintsugi.prove.runner import prove, trial_of
from kintsugi.prove.trial import Cell, Claim, judge


def cells(method, baseline, units=3, per=4, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for unit in range(units):
        shift = rng.normal(0, noise)
        for s in range(per):
            key = unit * per + s
            made.append(Cell("r", str(unit), key, "new", {"acc": method + shift + rng.normal(0, noise)}))
            made.append(Cell("r", str(unit), key, "old", {"acc": baseline + rng.normal(0, noise)}))
    return made


CLAIM = Claim("r", "acc", "new", ("old",), margin=0.15)


def test_a_large_effect_is_proven_and_its_interval_holds_it():
    outcome = judge(CLAIM, cells(0.8, 0.5))
    assert outcome.proven
    assert outcome.interval[0] < outcome.effect < outcome.interval[1]
    assert outcome.effect == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("method", "baseline", "noise"), [(0.5, 0.5, 0.02), (0.6, 0.5, 0.02), (0.7, 0.5, 0.5)])
def test_no_small_or_uncertain_effects_are_proven(method, baseline, noise):
    assert not judge(CLAIM, cells(method, baseline, noise=noise)).proven


def test_the_best_baseline_is_chosen_for_every_seed():
    made = [
        Cell("r", "u", s, arm, {"acc": v})
        for s in (0, 1)
        for arm, v in (("new", 0.9), ("a", 0.5 + 0.3 * s), ("b", 0.8 - 0.3 * s))
    ]
    outcome = judge(Claim("r", "acc", "new", ("a", "b")), made)
    assert outcome.effect == pytest.approx(0.1)


def test_units_widen_the_interval():
    together = [
        Cell("r", str(k // 10), k, arm, {"acc": (k // 10) * 0.2 if arm == "new" else 0.0})
        for k in range(30)
        for arm in ("new", "old")
    ]
    apart = [
        Cell("r", str(k), k, arm, {"acc": (k // 10) * 0.2 if arm == "new" else 0.0})
        for k in range(30)
        for arm in ("new", "old")
    ]
    wide, narrow = judge(CLAIM, together).interval, judge(CLAIM, apart).interval
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_a_missing_seed_is_refused_by_name():
    with pytest.raises(BadArgument, match="old"):
        judge(CLAIM, cells(0.8, 0.5)[:-1])


class Toy:
    name, title, claims = "toy", "a toy", (Claim("r", "acc", "new", ("old",)),)

    def __init__(self):
        self.calls = []

    def units(self, seeds):
        return [f"u{k}" for k in range(seeds or 3)]

    def facts(self):
        return {"data": "none"}

    def run(self, unit, run):
        self.calls.append(unit)
        if len(self.calls) == 2 and not run.path("mark").exists():
            run.log(mark=1)
            run.path("mark").touch()
            raise KeyboardInterrupt
        return [Cell("r", unit, int(unit[1:]), arm, {"acc": value}) for arm, value in (("new", 0.9), ("old", 0.1))]


def test_finished_units_are_not_repeated(tmp_path):
    toy = Toy()
    with pytest.raises(KeyboardInterrupt):
        prove(toy, Run(tmp_path), workers=1)
    again = Toy()
    again.calls = ["x", "x"]
    evidence = prove(again, Run(tmp_path), workers=1)
    assert "u0" not in again.calls[2:]
    assert evidence.proven
    assert {row["arm"]: row["mean"] for row in evidence.table()} == pytest.approx({"new": 0.9, "old": 0.1})


def test_an_unknown_trial_is_answered_with_the_known_ones():
    with pytest.raises(BadArgument, match="no_such"):
        trial_of("no_such")
