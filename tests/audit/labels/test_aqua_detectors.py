"""The card's small check on scikit-learn's digits: every detector beats flagging nothing and flagging at random.

Also by hand: CINCER's margin, SimiFeat's votes and counts, AUM's threshold, the beta mixture on a log.
"""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from kintsugi.audit.labels.aum import AUM
from kintsugi.audit.labels.beta_mixture import BetaMixture
from kintsugi.audit.labels.cincer import Cincer
from kintsugi.audit.labels.simifeat import SimiFeat, _least
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.label_noise import Labelled, noise_model
from kintsugi.data.imageset import ImageSet
from kintsugi.training.crossval import cross_val_outputs
from kintsugi.training.logit_log import LogitHistory, head_history

DETECTORS = {"aum": AUM(), "cincer": Cincer(), "simifeat": SimiFeat(), "beta_mixture": BetaMixture()}


def images(label, k):
    return ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label, [f"c{i}" for i in range(k)])


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    return PCA(30, svd_solver="full").fit_transform(raw.data).astype(np.float32), raw.target.astype(np.int64)


def f1(flagged, wrong):
    return 2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum())


PAIRS = [(noise, rate) for noise in ("uniform", "class_dependent", "instance_dependent") for rate in (0.1, 0.4)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("noise", "rate"), [*PAIRS, ("asymmetric", 0.1)])
def test_every_detector_beats_chance_on_digits(digits, noise, rate, seed):
    check(digits, noise, rate, seed)


@pytest.mark.parametrize(("noise", "rate"), [("uniform", 0.4)])
def test_every_detector_beats_chance_in_one_cell(digits, noise, rate):
    check(digits, noise, rate, 0)


def check(digits, noise, rate, seed):
    features, true = digits
    rng = np.random.default_rng(seed)
    confusion = np.ones((10, 10)) + 9 * np.eye(10) + 3 * np.eye(10)[::-1]
    label = noise_model(noise, rate)(Labelled(true, 10, features, confusion), rng)
    data, wrong = images(label, 10), label != true
    outputs = cross_val_outputs(features, label, data.ids, 10, rng=rng, C=0.1)
    chance = f1(rng.permutation(wrong), wrong)
    for name, detector in DETECTORS.items():
        flagged = np.isin(data.ids, [row.ids[0] for row in detector(data, outputs, rng).flagged])
        # Heads learn much of the noise that depends on the image, and the beta mixture has nothing but their losses.
        hard = name == "beta_mixture" and (noise, rate) == ("instance_dependent", 0.4)
        assert f1(flagged, wrong) > max(0.0, chance) + (0.0 if hard else 0.1), name


def test_cincer_by_hand():
    prob = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2]])
    data = images(np.array([1, 1, 1, 1]), 3)
    findings = Cincer()(data, Outputs(data.ids, prob, held_out=True), np.random.default_rng(0))
    assert [(row.ids[0], row.flagged) for row in findings] == [("000000", True), ("000001", False)]
    assert findings.rows[0].score == pytest.approx(0.5)
    with pytest.raises(BadArgument, match="seen these"):
        Cincer()(data, Outputs(data.ids, prob, held_out=False), np.random.default_rng(0))


def test_cincer_judges_halves_anew_where_the_model_has_seen_the_samples(digits):
    features, true = digits
    label = true.copy()
    label[:50] = (label[:50] + 1) % 10
    data = images(label, 10)
    learned = np.full((len(label), 10), 0.001)
    learned[np.arange(len(label)), label] = 0.991
    findings = Cincer()(data, Outputs(data.ids, learned, features, held_out=False), np.random.default_rng(0))
    assert len({row.ids[0] for row in findings.flagged} & set(data.ids[:50])) > 40


def test_simifeat_counts_what_hoc_says_and_flags_the_least_supported():
    label, support = np.array([0, 0, 0, 1, 1, 0]), np.array([0.9, 0.1, 0.5, 0.2, 0.8, 0.1])
    assert _least(label, support, np.array([2, 1])).tolist() == [False, True, False, True, False, True]
    assert not _least(label, support, np.array([0, 0])).any()


def test_simifeat_estimates_the_rate_on_digits(digits):
    features, true = digits
    label = noise_model("uniform", 0.3)(Labelled(true, 10), np.random.default_rng(0))
    data = images(label, 10)
    outputs = Outputs(data.ids, np.full((len(label), 10), 0.1), features, held_out=True)
    made = {rule: SimiFeat(rule)(data, outputs, np.random.default_rng(0)) for rule in ("v", "r", "both")}
    assert made["both"].summary.count == pytest.approx((label != true).sum(), rel=0.15)
    flagged = {rule: {row.ids for row in each.flagged} for rule, each in made.items()}
    assert flagged["both"] == flagged["v"] & flagged["r"]


def test_simifeat_lets_no_copy_vote_and_tells_what_it_cannot():
    rng = np.random.default_rng(0)
    data = images(np.repeat([0, 1], 30), 2)
    same = Outputs(data.ids, np.full((60, 2), 0.5), np.repeat(np.eye(2), 30, axis=0), held_out=True)
    assert not SimiFeat()(data, same, rng).flagged  # only copies: nobody is heard
    many = images(np.arange(600) % 300, 300)
    outputs = Outputs(many.ids, np.full((600, 300), 1 / 300), rng.standard_normal((600, 4)), held_out=True)
    findings = SimiFeat()(many, outputs, rng)
    assert findings.summary.count is None
    assert any("Over 200 classes" in note for note in findings.summary.notes)


def test_the_beta_mixture_reads_the_log_of_a_training(digits):
    features, true = digits
    rng = np.random.default_rng(0)
    label = noise_model("uniform", 0.5)(Labelled(true, 10), rng)
    data, wrong = images(label, 10), label != true
    history = head_history(features, label, data.ids, 10, epochs=5, lr=0.02, rng=rng)
    outputs = Outputs(data.ids, np.full((len(label), 10), 0.1), held_out=False)
    findings = BetaMixture(history=history)(data, outputs, rng)
    flagged = np.isin(data.ids, [row.ids[0] for row in findings.flagged])
    assert f1(flagged, wrong) > 0.85
    with pytest.raises(BadData, match="history"):
        BetaMixture(history=LogitHistory(["x"]))(data, outputs, rng)
    even = Outputs(data.ids, np.full((len(label), 10), 0.1), held_out=True)
    assert "Cannot tell" in " ".join(BetaMixture()(data, even, rng).summary.notes)


def test_aum_does_not_learn_its_threshold_samples_by_heart(digits):
    """With many features that say nothing a head without a penalty fits any label, and most samples fall below."""
    features, true = (each[:600] for each in digits)
    rng = np.random.default_rng(0)
    wide = np.concatenate([features / features.std(axis=0), rng.standard_normal((600, 170))], axis=1).astype(np.float32)
    label = noise_model("uniform", 0.2)(Labelled(true, 10), rng)
    below = {decay: AUM(decay=decay).judge(wide, label, 10, np.random.default_rng(1))[0] < 0 for decay in (0.0, 1.0)}
    assert below[0.0].mean() > 0.65
    assert below[1.0].mean() < 0.5
    assert f1(below[1.0], label != true) > f1(below[0.0], label != true) + 0.1


def test_aum_says_when_it_cannot_tell():
    data = images(np.arange(40) % 4, 4)
    outputs = Outputs(
        data.ids, np.full((40, 4), 0.25), np.random.default_rng(0).standard_normal((40, 3)), held_out=True
    )
    for said in (outputs, Outputs(data.ids, outputs.prob, held_out=True)):
        findings = AUM()(data, said, np.random.default_rng(0))
        assert not len(findings)
        assert "Cannot tell" in " ".join(findings.summary.notes)
