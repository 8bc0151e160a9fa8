"""What the trials of evaluation methods plant and count, by hand."""

import numpy as np
import pytest

from kintsugi.data.compose.collage import PatchCollage
from kintsugi.data.label_sets import LabelSets
from kintsugi.prove.collages import Answered
from kintsugi.prove.population import Population
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Cell, judge
from kintsugi.prove.trials import (
    audit_protocol,
    aurra,
    consensus,
    drop_decomposition,
    mistake_triage,
    multi_label_accuracy,
    uncommon_settings,
)


def test_shuffled_confidences_leave_the_answers_as_they_are():
    rng = np.random.default_rng(0)
    seen = Population(rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50), np.zeros(50, int))
    mixed = aurra._shuffled(seen, rng)
    assert (mixed.prob.argmax(1) == seen.prob.argmax(1)).all()
    np.testing.assert_allclose(np.sort(mixed.prob.max(1)), np.sort(seen.prob.max(1)))
    np.testing.assert_allclose(mixed.prob.sum(1), 1)
    assert not np.allclose(mixed.prob.max(1), seen.prob.max(1))


def test_one_label_in_eight_is_wrong_and_nine_in_ten_of_one_class():
    data, wrong, worst = audit_protocol._planted(0, np.random.default_rng(0))
    assert wrong.mean() == pytest.approx(0.12, abs=0.003)
    assert wrong[data.labels == worst].mean() == 0.9
    true = {name: label for part in digits(0) for name, label in zip(part.ids, part.labels, strict=True)}
    assert (np.array([true[name] for name in data.ids]) != data.labels).tolist() == wrong.tolist()


def test_level_classes_share_the_point_of_a_majority():
    said = np.array([[1, 1, 2], [1, 2, 2], [1, 2, 3]])
    assert consensus._majority(said, np.array([1, 1, 1])) == pytest.approx((1 + 0 + 1 / 3) / 3)
    item, _, label = consensus._flat(np.zeros((2, 9), int), np.tile(np.arange(9), (2, 1)), np.array([1, 3]))
    assert (item.tolist(), label.tolist()) == ([0, 1, 1, 1], [0, 0, 1, 2])


def test_raters_are_asked_until_an_image_is_sure():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 300)
    people, said = consensus._votes(true, np.ones((300, 10)) - np.eye(10)[true], rng)
    assert 0.6 < (said == true[:, None]).mean() < 0.95
    taken, sure, right = consensus._asked_for(people, said, true)
    assert taken.min() == 2
    assert (taken[~sure] == 9).all()
    assert right[sure].mean() > 0.9


def test_masks_cover_the_digit_and_not_the_patch():
    digit = np.full((8, 8), 90, np.uint8)
    image, mask = mistake_triage._scene([digit], True, np.random.default_rng(0))
    assert (image[mask] == 90).all()
    assert mask.sum() == 64
    assert (image == 255).sum() == mistake_triage.PATCH**2


def test_settings_have_the_share_asked_for():
    train, _ = digits(0)
    usual = np.stack([np.arange(10) % 2] * 3, axis=1)
    made = uncommon_settings._scenes(train, np.arange(1000), usual, 0.9, np.random.default_rng(0))
    for name, values in uncommon_settings.NAMES.items():
        fits = made.column(name) == np.array(values)[made.labels % 2]
        assert fits.mean() == pytest.approx(0.9, abs=0.03)


def answers(seed, share, size=600):
    """Collages of which a share shows two things, answered with one of them in eight cases of ten."""
    rng = np.random.default_rng(seed)
    scenes = PatchCollage(np.zeros((20, 2, 2), np.uint8), np.arange(20) % 10, [str(k) for k in range(10)])
    data = scenes.make(1 + (np.arange(size) < share * size), rng)
    correct = LabelSets.of_column(data).flags(10)
    says = np.array([rng.choice(np.flatnonzero(row if rng.random() < 0.8 else ~row)) for row in correct])
    return Answered(data.labels, data.column("patches"), np.eye(10)[says] * 0.9 + 0.01, correct)


def test_the_trials_of_several_labels_measure_what_is_there(monkeypatch):
    monkeypatch.setattr(multi_label_accuracy, "DRAWS", 3)
    monkeypatch.setattr(drop_decomposition, "DRAWS", 3)
    for trial in (multi_label_accuracy, drop_decomposition):
        monkeypatch.setattr(trial, "answered", lambda seed: (answers(seed, 0.15), answers(seed + 1, 0.5)))
        cells = [Cell(row, "seed-0", 0, arm, scores) for row, arm, scores in trial._measure(0, None)]
        made = [judge(claim, cells) for claim in trial.trial().claims]
        naive = ((multi_label_accuracy.TOP1,), (drop_decomposition.GAP,))
        beaten = [outcome.effect > 0.02 for outcome in made if outcome.claim.against in naive]
        assert beaten
        assert all(beaten)


def test_spoiled_answers_are_of_no_class_in_the_image():
    seen = answers(0, 0.5)
    spoiled = drop_decomposition._spoil(seen, np.random.default_rng(0))
    changed = (spoiled.prob != seen.prob).any(1)
    assert changed.mean() == pytest.approx(0.1, abs=0.05)
    assert not spoiled.correct[changed, spoiled.prob[changed].argmax(1)].any()
