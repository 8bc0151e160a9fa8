"""Trials of training methods: tuned alike, on the validation part alone, on data whose parts share no image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument
from kintsugi.core.run import Run
from kintsugi.prove import few_digits, rare_groups, small
from kintsugi.prove.runner import trial_of
from kintsugi.prove.tuned import OTHER_SEEDS, Try, compared, tuned_trial
from kintsugi.training.settings import Training

FEW = Training(steps=2, device="cpu")


@pytest.fixture(scope="module")
def parts():
    return few_digits.parts_of(0, "test", 20)[0]


def weights(model):
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def test_an_arm_keeps_the_try_that_validates_best_and_never_sees_the_test(parts):
    seen = []

    def score(model, data):
        seen.append(data)
        return {"acc": [0.1, 0.7, 0.7][len(seen) - 1]}

    run = Run(None)
    rates = (1e-3, 1e-2, 1e-1)
    tries = [Try(Training(steps=2, lr=lr, device="cpu")) for lr in rates]
    ((arm, model),) = compared({"a": tries}, parts, score, "acc", width=4, seed=0, run=run)
    assert arm == "a"
    assert all(data is parts.valid for data in seen)
    for lr, same in zip(rates, (False, True, False), strict=True):
        ((_, alone),) = compared(
            {"a": [Try(Training(steps=2, lr=lr, device="cpu"))]}, parts, few_digits.scores, "accuracy",
            width=4, seed=0, run=Run(None),
        )  # fmt: skip
        assert torch.equal(weights(alone), weights(model)) == same
    assert [line["validation acc of try 1"] for line in run.metrics()] == [0.7]


def test_a_try_may_bring_its_own_data(parts):
    other = parts.train.select(range(3))
    arms = {"all": [Try(FEW)], "three": [Try(FEW, data=other)]}
    made = dict(compared(arms, parts, few_digits.scores, "accuracy", width=4, seed=0, run=Run(None)))
    assert not torch.equal(weights(made["all"]), weights(made["three"]))


def test_uneven_tuning_is_refused(parts):
    arms = {"method": [Try(FEW), Try(FEW)], "baseline": [Try(FEW)]}
    with pytest.raises(BadArgument, match="as many tries"):
        next(compared(arms, parts, few_digits.scores, "accuracy", width=4, seed=0, run=Run(None)))


@pytest.mark.parametrize(("setting", "expected"), [("", ("test", 2)), ("validation", ("valid", OTHER_SEEDS + 2))])
def test_the_validation_setting_measures_other_seeds_on_the_other_part(setting, expected):
    asked = []

    def measure(part, seed, run):
        asked.append((part, seed))
        yield "r", "arm", {"acc": 1.0}

    made = tuned_trial("x", "x", (), measure, "none", setting).run("seed-2", Run(None))
    assert asked == [expected]
    assert made[0].seed == 2


def test_few_digits_share_no_image():
    cut, rest = few_digits.parts_of(3, "test", 100)
    sets = [set(data.ids) for data in (cut.train, cut.valid, cut.test, rest)]
    assert [len(each) for each in sets] == [100, 300, 797, 600]
    assert len(set().union(*sets)) == 1797
    assert few_digits.parts_of(3, "valid", 100)[0].test.ids == cut.valid.ids


def test_rare_groups_are_rare_in_training_alone():
    cut = rare_groups.parts_of(1, "test")
    counts = np.bincount(cut.train.column("group"))
    assert sorted(counts) == [15, 15, 485, 485]
    assert [len(set(np.bincount(data.column("group")))) for data in (cut.valid, cut.test)] == [1, 1]
    rare = np.isin(cut.train.column("group"), np.flatnonzero(counts == 15))
    assert (rare == (cut.train.column("origin") == "added")).all()
    digit = [set(data.column("digit")) for data in (cut.train, cut.valid, cut.test)]
    assert not digit[0] & digit[1]
    assert not (digit[0] | digit[1]) & digit[2]


def test_the_worst_group_is_what_counts(monkeypatch):
    data = rare_groups.parts_of(1, "valid").valid
    group = data.column("group")
    wrong = (group == 2) & (np.arange(len(group)) % 4 == 0)
    said = SimpleNamespace(predicted=np.where(wrong, 1 - data.labels, data.labels))
    monkeypatch.setattr(small, "predict", lambda *_, **__: said)
    share = float(wrong[group == 2].mean())
    expected = {"worst group": 1 - share, "mean of groups": 1 - share / 4, "average": 1 - wrong.mean()}
    assert rare_groups.scores(None, data) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["group_dro", "group_balanced", "mixed_share"])
def test_arms_of_the_rare_groups_differ_in_one_thing(name):
    arms = trial_of(name).measure.args[0].args[0](FEW)
    plain, own = next(iter(arms.values())), arms[name]
    assert plain.how == own.how
    assert sum((type(own.objective) is not type(plain.objective), own.sampler is not plain.sampler)) == 1
