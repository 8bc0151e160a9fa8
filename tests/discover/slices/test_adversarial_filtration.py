"""What is filtered, by hand; and that a slice is hard for a model that did not choose it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.discover.slices.adversarial_filtration import AdversarialFiltration, slice_scores


def rng():
    return np.random.default_rng(0)


def case():
    data = ImageSet.from_arrays(np.zeros((6, 2, 2), np.uint8), [0, 0, 0, 1, -1, -1], list("abc"))
    prob = np.array([[0.9, 0.05, 0.05], [0.1, 0.9, 0], [0.3, 0.7, 0], [0.05, 0.0, 0.95], [0.4, 0.3, 0.3], [0, 0, 1.0]])
    return data, Outputs(data.ids, prob)


def test_wrong_with_little_doubt_is_kept_and_other_mistakes_are_shown():
    data, outputs = case()
    found = AdversarialFiltration()(data, outputs, rng())
    assert [(row.ids[0], row.flagged) for row in found] == [
        (data.ids[3], True),
        (data.ids[1], True),
        (data.ids[2], False),
    ]
    assert [row.score for row in found] == pytest.approx([1.0, 0.9, 0.7])
    assert any("audit the labels first" in note for note in found.summary.notes)
    assert found.summary.count == 2


def test_doubted_labels_are_left_out_and_the_warning_with_them():
    data, outputs = case()
    found = AdversarialFiltration(doubted=[data.ids[3]])(data, outputs, rng())
    assert [row.ids[0] for row in found.flagged] == [data.ids[1]]
    assert not any("audit the labels first" in note for note in found.summary.notes)


def test_images_from_outside_are_those_without_a_label():
    data, outputs = case()
    found = AdversarialFiltration("O")(data, outputs, rng())
    assert [row.ids[0] for row in found] == [data.ids[5]]
    none = AdversarialFiltration("O")(data.select([0, 1]), outputs.take(data.ids[:2]), rng())
    assert any("cannot be told" in note for note in none.summary.notes)


def test_answers_are_among_the_slices_classes_alone():
    prob = np.array([[0.1, 0.2, 0.7], [0.25, 0.15, 0.6], [0, 0, 1.0]])
    made = slice_scores(prob, np.array([1, 0, 0]), [0, 1])
    assert made["error"]["value"] == 0.0  # the third has no word on either: the first class, as ties go
    assert slice_scores(prob, np.array([1, 0, 0]), [0, 1, 2])["error"]["value"] == 1.0
    with pytest.raises(BadData, match="outside its classes"):
        slice_scores(prob, np.array([2, 0, 0]), [0, 1])


def test_a_slice_is_hard_for_models_that_did_not_choose_it():
    raw = load_digits()
    x, y = raw.data / 16 + np.random.default_rng(0).normal(0, 0.25, raw.data.shape), raw.target
    train, rest = np.arange(600), np.arange(600, len(y))
    chooser = LogisticRegression(max_iter=500).fit(x[train], y[train])
    data = ImageSet.from_arrays(np.zeros((len(rest), 2, 2), np.uint8), y[rest], [str(k) for k in range(10)])
    found = AdversarialFiltration()(data, Outputs(data.ids, chooser.predict_proba(x[rest])), rng())
    chosen = [data.ids.index(row.ids[0]) for row in found.flagged]
    other = KNeighborsClassifier(5).fit(x[train], y[train]).predict(x[rest]) == y[rest]
    assert len(chosen) > 30
    assert other.mean() - other[chosen].mean() > 0.3


@pytest.mark.parametrize("options", [{"mode": "B"}, {"p_max": 0}, {"conf_min": 1}, {"doubted": "abc"}])
def test_bad_parameters_are_refused_by_name(options):
    with pytest.raises(BadArgument, match=next(iter(options))):
        AdversarialFiltration(**options)
