"""Votes and blend against plain loops; copies; wrong labels planted in scikit-learn's digits, beside plain scores."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from kintsugi.audit.labels.confident_learning import ConfidentLearning
from kintsugi.audit.labels.label_errors import LEAST, MOST, LabelErrors, _exponents, _joined, _votes
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.label_noise import Labelled, noise_model
from kintsugi.data.imageset import ImageSet
from kintsugi.metrics.average_precision import average_precision
from kintsugi.prove.label_scores import peer_scores
from kintsugi.training.crossval import cross_val_outputs


def images(label, k, **columns):
    return ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label, [f"c{i}" for i in range(k)], **columns)


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    return PCA(30, svd_solver="full").fit_transform(raw.data).astype(np.float32), raw.target.astype(np.int64)


def planted(digits, name, rate, seed=0):
    features, true = digits
    rng = np.random.default_rng(seed)
    label = noise_model(name, rate)(Labelled(true, 10, features), rng)
    data = images(label, 10)
    return label, data, cross_val_outputs(features, label, data.ids, 10, rng=rng, C=0.1)


def test_votes_are_weighted_shares():
    rng = np.random.default_rng(0)
    label, near = rng.integers(4, size=30), rng.integers(30, size=(30, 5))
    voice = rng.random((30, 5)).astype(np.float32)
    voice[3] = 0  # nobody votes
    expected = np.full((30, 4), 1e-3)
    for i in range(30):
        for j in range(5):
            expected[i, label[near[i, j]]] += voice[i, j]
    made = _votes(label, near, voice, 4)
    np.testing.assert_allclose(made, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(made[3], 0.25)


def test_exponents_make_the_labels_most_likely():
    """Of a judge who is right, one who knows less and one who guesses; a grid over exponents finds nothing better."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.ones(4), 3000)
    label = np.array([rng.choice(4, p=row) for row in true])
    judges = (true, np.sqrt(true), rng.dirichlet(np.ones(4), 3000))
    logs = np.stack([np.log(np.maximum(judge / judge.sum(axis=1, keepdims=True), LEAST)) for judge in judges])
    trust = np.ones(3000, np.float32)
    power = _exponents(label, trust, logs)
    assert power[0] + power[1] / 2 == pytest.approx(1, abs=0.15)  # the truth itself, by either judge
    assert power[2] < 0.1

    def likelihood(power):
        total = np.tensordot(power, logs, 1)
        return (total[np.arange(3000), label] - np.log(np.exp(total).sum(axis=1))).mean()

    best = likelihood(power)
    for a in np.linspace(0, MOST, 7):
        for b in np.linspace(0, MOST, 7):
            assert likelihood([a, b, 0.0]) <= best + 1e-5
    doubted = _exponents(label, (label == true.argmax(axis=1)).astype(np.float32), logs)
    assert doubted[0] + doubted[1] / 2 > 1.5  # trusting only what the judge says makes it surer
    joined, pool = _joined(label, trust, tuple(np.exp(logs).astype(np.float32))), np.exp(np.tensordot(power, logs, 1))
    np.testing.assert_allclose(joined, pool / pool.sum(axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize(("name", "rate"), [("uniform", 0.4), ("asymmetric", 0.1), ("instance_dependent", 0.4)])
def test_wrong_labels_rank_above_every_plain_score(digits, name, rate):
    label, data, outputs = planted(digits, name, rate)
    wrong = label != digits[1]
    rng = np.random.default_rng(1)
    ConfidentLearning()(data, outputs, rng)  # the auditor counts first
    joined = LabelErrors().posterior(label, outputs.prob, outputs.features, rng)
    np.testing.assert_allclose(joined.sum(axis=1), 1, rtol=1e-5)
    mine = average_precision(1 - joined[np.arange(len(label)), label], wrong)
    peers = peer_scores(label, outputs.prob, outputs.features)
    best = max(average_precision(score, wrong) for score in peers.values())
    assert mine > best
    assert mine > 0.94
    findings = LabelErrors()(data, outputs, np.random.default_rng(1))
    flagged = np.isin(data.ids, [row.ids[0] for row in findings.flagged])
    assert 2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()) > 0.9
    worst = findings.rows[0]
    row = int(worst.ids[0])
    assert worst.suggestion == f"relabel:{joined[row].argmax()}"
    assert worst.score == pytest.approx(1 - joined[row, label[row]])


def test_copies_do_not_support_each_others_wrong_label(digits):
    """Eight near copies of a picture, all wrong alike: alone they elect each other; known as a group they are found."""
    features, true = digits
    rng = np.random.default_rng(0)
    picture = int(np.flatnonzero(true == 3)[0])
    near = features[picture] + 0.01 * rng.standard_normal((8, features.shape[1])).astype(np.float32)
    space = np.concatenate([features, near])
    label = np.concatenate([true, np.full(8, 5)])
    group = np.concatenate([np.full(len(true), -1), np.zeros(8, dtype=np.int64)])
    group[picture] = 0
    data = images(label, 10, copies=group)
    outputs = cross_val_outputs(space, label, data.ids, 10, rng=rng, groups=group, C=0.1)
    made = [
        LabelErrors().posterior(label, outputs.prob, space, np.random.default_rng(0), groups=groups)[-8:, 5]
        for groups in (None, group)
    ]
    assert (made[1] < 0.5).all()
    assert (made[1] < made[0]).all()
    findings = LabelErrors(group_column="copies")(data, outputs, np.random.default_rng(0))
    assert set(data.ids[-8:]) <= {row.ids[0] for row in findings.flagged}
    with pytest.raises(BadArgument, match="twins"):
        LabelErrors(group_column="twins")(data, outputs, np.random.default_rng(0))


def test_exact_copies_are_seen_without_being_told(digits):
    features, _ = digits
    space = np.concatenate([features, np.repeat(features[:1], 8, axis=0)])
    near, voice = LabelErrors()._neighbours(space, None)
    copies = np.concatenate([[0], np.arange(len(features), len(space))])
    assert (voice > 0).all(axis=1).sum() == len(space)  # everybody still has 15 voters
    assert not np.isin(near[copies], copies).any()


def test_the_count_is_confident_learnings_and_features_are_not_needed(digits):
    label, data, outputs = planted(digits, "uniform", 0.1)
    bare = Outputs(data.ids, outputs.prob, held_out=True)
    findings = LabelErrors()(data, bare, np.random.default_rng(3))
    assert findings.summary.count == ConfidentLearning()(data, bare, np.random.default_rng(3)).summary.count
    assert any("Without features" in note for note in findings.summary.notes)
    np.testing.assert_allclose(findings.scores(data.ids)[label != outputs.predicted].max(), findings.rows[0].score)
    flat = Outputs(data.ids, outputs.prob, np.ones((len(label), 3), np.float32), held_out=True)
    assert any("equal" in note for note in LabelErrors()(data, flat, np.random.default_rng(3)).summary.notes)
    holes = outputs.features.copy()
    holes[5] = np.nan
    with pytest.raises(BadData, match="features"):
        LabelErrors()(data, Outputs(data.ids, outputs.prob, holes, held_out=True), np.random.default_rng(3))
    with pytest.raises(BadArgument, match="trained on these"):
        LabelErrors()(data, Outputs(data.ids, outputs.prob, held_out=False), np.random.default_rng(3))
    with pytest.raises(BadArgument, match="outputs"):
        LabelErrors()(data, None, np.random.default_rng(3))


def test_identical_images_and_every_label_wrong_and_two_a_class():
    rng = np.random.default_rng(0)
    for label, features in (
        (np.arange(40) % 4, np.ones((40, 3), np.float32)),
        ((np.arange(40) % 4 + 1) % 4, np.eye(4, dtype=np.float32)[np.arange(40) % 4]),
        (np.arange(200) // 2, rng.standard_normal((200, 3)).astype(np.float32)),
    ):
        k = int(label.max()) + 1
        data = images(label, k)
        outputs = Outputs(data.ids, rng.dirichlet(np.ones(k), len(label)), features, held_out=True)
        findings = LabelErrors()(data, outputs, rng)
        assert all(np.isfinite(row.score) for row in findings)


def test_bad_parameters():
    with pytest.raises(BadArgument, match="neighbours"):
        LabelErrors(neighbours=0)
    with pytest.raises(BadArgument, match="rounds"):
        LabelErrors(rounds=-1)
