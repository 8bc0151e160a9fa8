"""Peer scores against loops over cleanlab's formulas; what the cells of label trials are made of."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument
from kintsugi.core.run import Run
from kintsugi.prove.label_cells import encoded, images_of, known_of, people_labels, size_of
from kintsugi.prove.label_scores import PEER_SCORES, peer_scores
from kintsugi.prove.trials import label_errors


def test_scores_by_loops():
    """Parity with cleanlab 2.9 itself was measured outside: equal orders and no difference of average precision."""
    rng = np.random.default_rng(0)
    prob, label = rng.dirichlet(np.ones(4), 40), rng.integers(4, size=40)
    features = rng.standard_normal((40, 3))
    made = peer_scores(label, prob, features)
    assert tuple(made) == PEER_SCORES
    for i in range(40):
        own, others = prob[i, label[i]], np.delete(prob[i], label[i])
        entropy = -sum(p * np.log(p) for p in prob[i]) / np.log(4)
        apart = np.linalg.norm(features - features[i], axis=1)
        apart[i] = np.inf
        near = np.argsort(apart)[:10]
        assert made["self-confidence"][i] == pytest.approx(1 - own)
        assert made["normalised margin"][i] == pytest.approx((1 - (own - others.max())) / 2)
        assert made["confidence-weighted entropy"][i] == pytest.approx(entropy / own)
        assert made["labels of neighbours"][i] == pytest.approx((label[near] != label[i]).mean())


def test_digits_are_cut_once_and_encoded_in_one_space():
    assert size_of("digits", "train") + size_of("digits", "test") == 1797
    data, test = images_of("digits", "train", np.arange(300)), images_of("digits", "test", np.arange(20))
    features, other = encoded("digits", data, test)
    assert features.shape == (300, 50)
    assert other.shape == (20, 50)
    known = known_of("digits", data, features, 0)
    assert known.confusion.sum() == 300
    assert known.confusion.trace() > 250
    np.testing.assert_array_equal(known.label, data.labels)
    with pytest.raises(BadArgument, match="dataset"):
        images_of("dogs", "train", np.arange(3))


@pytest.mark.data
def test_every_arm_of_a_claim_is_run(monkeypatch):
    monkeypatch.setitem(label_errors.IMAGES, "mnist", 200)
    trial = label_errors.trial()
    assert trial.units(3) == [f"{d}-seed-{s}" for s in range(3) for d in ("mnist", "fashion", "cifar10")]
    cells = trial.run("mnist-seed-0", Run(None))
    for claim in trial.claims:
        if claim.row.startswith("mnist"):
            arms = {cell.arm for cell in cells if cell.row == claim.row}
            assert {claim.method, *claim.against} <= arms
    near = next(cell for cell in cells if cell.arm == label_errors.NEAR)
    peers = [c.scores[label_errors.METRIC] for c in cells if c.row == near.row and c.arm in PEER_SCORES]
    assert near.scores[label_errors.METRIC] == pytest.approx(max(peers) - 0.02)


@pytest.mark.data
def test_people_are_wrong_as_often_as_published():
    """CIFAR-10N (Wei et al., ICLR 2022, table 1): 9.03% aggregated, 17 to 18% a set, 40.21% worst, of 50,000."""
    rows = np.arange(10_000)
    truth = images_of("cifar10", "train", rows).labels
    rates = {name: (label != truth).mean() for name, label in people_labels(rows).items()}
    assert rates["aggre_label"] == pytest.approx(0.0903, abs=0.01)
    assert rates["random_label1"] == pytest.approx(0.1723, abs=0.012)
    assert rates["worse_label"] == pytest.approx(0.4021, abs=0.015)
