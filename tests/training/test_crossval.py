import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.training.crossval import assign_folds, cross_val_outputs


def digits(count=400):
    made = load_digits()
    return made.data[:count], made.target[:count].astype(np.int64), [f"d{k}" for k in range(count)]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_every_row_is_made_by_a_head_that_never_saw_it():
    features, label, ids = digits()
    outputs = cross_val_outputs(features, label, ids, 10, rng=rng())
    part = assign_folds(label, 5, rng())
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[part != 2], label[part != 2])
    assert np.allclose(outputs.prob[part == 2], head.predict_proba(features[part == 2]), atol=1e-5)
    assert outputs.held_out is True
    assert outputs.source == "5-fold heads on frozen features"
    assert (outputs.predicted == label).mean() > 0.9


def test_a_wrong_label_is_not_believed():
    features, label, ids = digits()
    wrong = label.copy()
    wrong[:20] = (wrong[:20] + 3) % 10
    outputs = cross_val_outputs(features, wrong, ids, 10, rng=rng())
    assert (outputs.predicted[:20] == label[:20]).mean() > 0.8


def test_same_rng_same_answer_and_inputs_untouched():
    features, label, ids = digits(100)
    kept = features.copy()
    first, second = (cross_val_outputs(features, label, ids, 10, rng=rng(3)).prob for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(features, kept)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=10, max_size=80), st.integers(2, 6), st.integers(0, 5))
def test_classes_are_spread_evenly(label, folds, seed):
    label = np.array(label)
    part = assign_folds(label, folds, rng(seed))
    for k in np.unique(label):
        counts = np.bincount(part[label == k], minlength=folds)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(part, minlength=folds)
    assert sizes.max() - sizes.min() <= len(np.unique(label))


def test_pairs_and_their_chains_stay_together():
    label = np.arange(60) % 3
    pairs = [(0, 1), (1, 2), (10, 40), (11, 41)]
    features = rng().normal(size=(60, 4)) + label[:, None]
    outputs = cross_val_outputs(features, label, [str(k) for k in range(60)], 3, rng=rng(), groups=pairs)
    groups = np.arange(60)
    for a, b in pairs:
        groups[groups == groups[b]] = groups[a]
    part = assign_folds(label, 5, rng(), groups)
    assert part[0] == part[1] == part[2]
    assert part[10] == part[40]
    assert np.bincount(part).max() - np.bincount(part).min() <= 3
    by_number = cross_val_outputs(features, label, outputs.id, 3, rng=rng(), groups=groups)
    assert np.allclose(by_number.prob.sum(1), 1, atol=1e-5)


def test_duplicates_do_not_vouch_for_each_other():
    # Two copies of a sample with one wrong label: with the copy in training the head would learn it by heart.
    features, label, ids = digits(200)
    pick = np.flatnonzero(label == 3)[:8]
    features, ids = np.concatenate((features, features[pick])), [*ids, *(f"copy{k}" for k in pick)]
    label = np.concatenate((label, np.full(8, 7)))
    label[pick] = 7
    pairs = [(int(row), 200 + k) for k, row in enumerate(pick)]
    safe = cross_val_outputs(features, label, ids, 10, rng=rng(), C=100.0, groups=pairs).prob[pick, 7].mean()
    naive = cross_val_outputs(features, label, ids, 10, rng=rng(), C=100.0).prob[pick, 7].mean()
    assert safe < naive


def test_rare_classes_and_unknown_labels():
    features, label, ids = digits(100)
    label = label.copy()
    label[label == 9] = 8
    label[0] = 9  # the only one
    label[50:55] = -1
    outputs = cross_val_outputs(features, label, ids, 11, rng=rng())
    assert outputs.prob.shape == (100, 11)
    assert outputs.prob[0, 9] == pytest.approx(1 / 95, abs=1e-3)
    assert outputs.prob[:, 10].max() == 0
    assert np.allclose(outputs.prob.sum(1), 1, atol=1e-5)
    truth = load_digits().target[50:55]
    assert (outputs.predicted[50:55] == np.where(truth == 9, 8, truth)).mean() >= 0.6


@pytest.mark.parametrize(("options", "named"), [({"folds": 1}, "folds"), ({"folds": 101}, "folds"), ({"C": 0.0}, "C=")])
def test_bad_parameters(options, named):
    features, label, ids = digits(100)
    with pytest.raises(BadArgument, match=named):
        cross_val_outputs(features, label, ids, 10, rng=rng(), **options)


def test_bad_data():
    features, label, ids = digits(100)
    torn = features.copy()
    torn[7] = np.nan
    with pytest.raises(BadData, match="first 'd7'"):
        cross_val_outputs(torn, label, ids, 10, rng=rng())
    with pytest.raises(BadData, match="two classes"):
        cross_val_outputs(features, np.zeros(100, np.int64), ids, 10, rng=rng())
    with pytest.raises(BadData, match="outside"):
        cross_val_outputs(features, label, ids, 5, rng=rng())
    with pytest.raises(BadData, match="one row each"):
        cross_val_outputs(features, label[:9], ids, 10, rng=rng())
    with pytest.raises(BadData, match="groups"):
        cross_val_outputs(features, label, ids, 10, rng=rng(), groups=[(0, 100)])
