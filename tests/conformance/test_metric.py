"""Every metric: mergeable, whatever the order and the split, with an interval and its averaging rule in words."""

import inspect
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import KintsugiError
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.registry import of_kind, parameters

METRICS = [pytest.param(entry, id=entry.card.name) for entry in of_kind("metric")]


def samples(seed, n=60, classes=3):
    """Labels, groups that never tie inside a class, and answers that are right more often than not."""
    rng = numpy_rng(seed, "samples")
    label = np.arange(n) % classes
    group = np.where(np.arange(n) < n // 4, (label + 1) % classes, label)  # a quarter of each class conflicts
    shuffled = rng.permutation(n)
    label, group = label[shuffled], group[shuffled]
    group[-2:] = -1
    prob = rng.dirichlet(np.ones(classes), n) + 0.7 * np.eye(classes)[label]
    # A few equal scores, so that ties are met.
    prob = np.round(prob / prob.sum(axis=1, keepdims=True), 2)
    return prob / prob.sum(axis=1, keepdims=True), label.astype(np.int64), group.astype(np.int64)


def answer(method, *parts):
    made = method()
    for prob, label, group in parts:
        made.update(prob, label, group)
    return made.compute()


@pytest.mark.parametrize("entry", METRICS)
def test_merging_is_updating_and_order_does_not_matter(entry):
    @given(st.integers(0, 5), st.integers(0, 60), st.randoms(use_true_random=False))
    @settings(max_examples=8, deadline=None)
    def check(seed, cut, shuffle):
        method, (prob, label, group) = entry.load(), samples(seed)
        whole = answer(method, (prob, label, group))
        first, second, empty = method(), method(), method()
        first.update(prob[:cut], label[:cut], group[:cut])
        second.update(prob[cut:], label[cut:], group[cut:])
        order = list(range(len(label)))
        shuffle.shuffle(order)
        assert answer(method, (prob[order], label[order], group[order])) == whole
        assert (
            answer(method, *((prob[i : i + 7], label[i : i + 7], group[i : i + 7]) for i in range(0, 60, 7))) == whole
        )
        first.merge(empty)
        first.merge(second)
        assert first.compute() == whole
        second.merge(method())
        assert first.compute() == whole, "merging must not tie accumulators together"

    check()


@pytest.mark.parametrize("entry", METRICS)
def test_answer_is_plain_has_an_interval_and_says_its_rule(entry):
    made = answer(entry.load(), samples(0))
    low, high = made["interval"]
    assert low <= made["value"] <= high
    assert len(made["rule"]) > 20
    assert made["count"] > 0
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize("entry", METRICS)
def test_compute_can_be_repeated_and_touches_nothing(entry):
    prob, label, group = samples(1)
    copies = prob.copy(), label.copy(), group.copy()
    before = np.random.get_state()[1].copy()
    made = entry.load()()
    made.update(prob, label, group)
    assert made.compute() == made.compute()
    assert (np.random.get_state()[1] == before).all()
    assert all((a == b).all() for a, b in zip((prob, label, group), copies, strict=True))


@pytest.mark.parametrize("entry", METRICS)
def test_bad_input_is_refused_by_name(entry):
    prob, label, group = samples(2)
    made = entry.load()()
    for name, arguments in {
        "prob": (prob[:, 0], label, group),
        "label": (prob, label[:-1], group),
        "group": (prob, label, group[:-1]),
    }.items():
        with pytest.raises(KintsugiError, match=name):
            made.update(*arguments)
    with pytest.raises(KintsugiError, match="label"):
        made.update(prob, label + 3, group)
    with pytest.raises(KintsugiError, match="prob"):
        made.update(np.full_like(prob, np.nan), label, group)
    with pytest.raises(KintsugiError):
        entry.load()().compute()


@pytest.mark.parametrize("entry", METRICS)
def test_bad_parameters_are_refused_by_name(entry):
    known = parameters(entry.load())
    assert all(parameter.default is not inspect.Parameter.empty for parameter in known.values())
    for name in set(known) & {"draws", "seed", "train", "bins", "binning", "norm"}:
        with pytest.raises(KintsugiError, match=name):
            entry.load()(**{name: -1})
