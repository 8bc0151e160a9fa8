"""The filter's small check: added data make a shortcut worthless, and more so than all of the pool would."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.z_filter import ZFilter

FEATURES = 30


def drawn(count, bias, rng):
    """30 binary attributes: 0 goes with the label (85%), 1 and 2 weakly (60%), 5 by ``bias`` and not by cause."""
    label = rng.integers(2, size=count)
    x = rng.integers(2, size=(count, FEATURES))
    for column, share in ((0, 0.85), (1, 0.6), (2, 0.6), (5, bias)):
        x[:, column] = np.where(rng.random(count) < share, label, 1 - label)
    return x, label


def named(x):
    return {str(k): x[:, k] for k in range(FEATURES)}


def pool(rng):
    parts = [drawn(7000, bias, rng) for bias in (0.9, 0.9, 0.6)]
    order = rng.permutation(21000)
    return np.concatenate([x for x, _ in parts])[order], np.concatenate([y for _, y in parts])[order]


def accuracy(x, y, test):
    return LogisticRegression().fit(x, y).score(*test)


@pytest.mark.parametrize("seed", range(3))
def test_the_filter_breaks_a_shortcut_and_keeps_the_cause(seed):
    rng = np.random.default_rng(seed)
    x, y = drawn(5000, 0.9, rng)
    more, labels = pool(rng)
    anti, same = drawn(4000, 0.1, rng), drawn(4000, 0.9, rng)
    chosen = ZFilter(2, legitimate=("0", "1", "2"))
    chosen.add(named(x), y)
    before = np.abs(chosen.z("5")[1]).max()
    taken = chosen.accept(named(more), labels)
    filtered = np.concatenate([x, more[taken]]), np.concatenate([y, labels[taken]])
    original, whole = accuracy(x, y, anti), accuracy(np.concatenate([x, more]), np.concatenate([y, labels]), anti)
    own = accuracy(*filtered, anti)
    assert before > 30
    assert np.abs(chosen.z("5")[1]).max() < 4
    assert own >= original + 0.25
    assert own >= whole + 0.05
    assert accuracy(*filtered, same) >= 0.8


def test_with_every_feature_treated_as_a_bias_next_to_nothing_is_accepted():
    rng = np.random.default_rng(0)
    x, y = drawn(5000, 0.9, rng)
    more, labels = pool(rng)
    chosen = ZFilter(2)
    chosen.add(named(x), y)
    assert chosen.accept(named(more), labels).mean() < 0.05


def test_batches_in_parts_are_the_stream_as_a_whole():
    rng = np.random.default_rng(0)
    (x, y), (more, labels) = drawn(500, 0.9, rng), drawn(1000, 0.9, rng)
    one, two = (ZFilter(2, legitimate=("0",)) for _ in range(2))
    for each in (one, two):
        each.add(named(x), y)
    whole = one.accept(named(more), labels)
    parts = [two.accept(named(more[k : k + 250]), labels[k : k + 250]) for k in range(0, 1000, 250)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_new_values_of_any_kind_and_bad_input():
    chosen = ZFilter(3)
    assert chosen.accept({"place": ["beach", None, "hill"]}, np.array([0, 1, 2])).all()
    assert set(chosen.z("place")) == {"beach", None, "hill"}
    assert chosen.accept({"place": []}, np.zeros(0, int)).shape == (0,)
    with pytest.raises(BadData, match="Labels"):
        chosen.accept({"place": ["beach"]}, np.array([3]))
    with pytest.raises(BadData, match="place"):
        chosen.accept({"place": ["beach"]}, np.array([1, 2]))
    for name, value in (("threshold", 0.0), ("every", 0)):
        with pytest.raises(BadArgument, match=name):
            ZFilter(2, **{name: value})
    with pytest.raises(BadArgument, match="classes"):
        ZFilter(1)
