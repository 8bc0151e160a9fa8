"""The scoring of the trials of auditors and metrics, by hand; and that each arm of a claim is run."""

import numpy as np
import pytest
from PIL import Image

from kintsugi.data.imageset import ImageSet
from kintsugi.prove.label_scores import flag_scores, votes
from kintsugi.prove.population import Population, covers
from kintsugi.prove.trial import Cell, judge
from kintsugi.prove.trials import broken_files, confident_learning, george, group_gaps, macro_std, near_duplicates


def test_flags_and_ranks_of_wrong_labels_are_scored():
    flagged, wrong = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    scores = flag_scores(flagged, np.array([0.9, 0.8, 0.7, 0.1]), wrong)
    assert (scores["F1"], scores["precision"], scores["recall"]) == (0.5, 0.5, 0.5)
    assert scores["average precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_votes_leave_the_sample_itself_out():
    space = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    assert votes(space, np.array([0, 1, 1, 0]), 2)[0].tolist() == [0.0, 1.0]


def test_hashes_know_a_copy_and_its_mirror_image():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    photos = [np.asarray(Image.fromarray(one).resize((64, 64))) for one in small]
    data = ImageSet.from_arrays(np.stack([photos[0], photos[0][:, ::-1], photos[1], photos[2]]), [0] * 4)
    for similarity in near_duplicates._baselines(data).values():
        assert similarity[0, 1] > max(similarity[0, 2], similarity[0, 3], similarity[1, 2]) + 0.1
        assert np.allclose(similarity, similarity.T, atol=1e-5)


def test_the_best_threshold_in_hindsight_keeps_its_precision():
    truth = np.array([1] * 9 + [0] + [1] * 5 + [0] * 5, bool)
    score = -np.arange(20.0)
    assert near_duplicates._best_recall(score, truth) == pytest.approx(14 / 14)
    assert near_duplicates._best_recall(-score, truth) == 0.0


@pytest.mark.parametrize("kind", broken_files.KINDS)
def test_planted_breakage_is_what_it_is_called(kind, tmp_path):
    (image,) = broken_files._crops(1, np.random.default_rng(0))
    content = broken_files._made(image, kind, np.random.default_rng(1))
    path = tmp_path / "0000.jpg"
    path.write_bytes(content)
    measured = {name: float(value[0]) for name, value in broken_files._plain(tmp_path, 1).items()}
    checks = {
        "dark": measured["mean"] < 0.1,
        "bright": measured["mean"] > 0.9,
        "blank": measured["spread"] < 0.01,
        "blurred": measured["laplacian"] < 100,
        "unreadable": np.isnan(measured["mean"]),
        "odd": measured["height"] < 20,
    }
    assert checks[kind]


def test_plain_tests_of_gaps_are_fishers():
    from scipy.stats import fisher_exact

    label, camera = np.repeat([0, 1], 40), np.repeat(["A", "B", "A", "B"], 20).tolist()
    right = np.arange(80) % 20 >= np.repeat([2, 9, 0, 0], 20)
    data = ImageSet.from_arrays(np.zeros((80, 4, 4), np.uint8), label, ["one", "two"]).with_column("camera", camera)
    found = {name: (large, p) for name, large, p in group_gaps._tests(data, right) if name != "camera"}
    large, p = found["label=one, camera=B"]
    assert large
    assert p == pytest.approx(fisher_exact([[11, 9], [18, 2]], alternative="less").pvalue)
    assert not found["label=one, camera=A"][0]


def test_agreement_is_measured_inside_classes():
    label = np.repeat([0, 1], 4)
    hidden = np.tile([0, 0, 1, 1], 2)
    assert george._agreement(label, hidden, 10 * label + hidden) == 1.0
    assert george._agreement(label, hidden, label) == 0.0  # knowing the class alone is knowing nothing


def test_a_population_is_drawn_from_and_knows_its_truth():
    whole = Population(np.eye(2)[[0, 1, 0, 0]], np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]))
    assert whole.right.tolist() == [True, True, False, True]
    drawn = whole.draw(500, np.random.default_rng(0))
    assert drawn.right.mean() == pytest.approx(0.75, abs=0.05)
    assert covers((0.2, 0.3), 0.3)
    assert not covers((0.2, 0.3), 0.31)


def test_uncorrected_tests_find_a_class_whose_parts_differ():
    label, group = np.zeros(60, dtype=int), np.repeat([0, 1, 2], 20)
    prob = np.eye(2)[np.where(group == 2, 1, 0)]
    assert macro_std._any_class(Population(prob, label, group))
    assert not macro_std._any_class(Population(np.eye(2)[np.arange(60) % 2], label, group))


def test_every_claim_of_the_trial_of_wrong_labels_can_be_judged():
    trial = confident_learning.trial()
    cells = [Cell(row, "seed-0", 0, arm, scores) for row, arm, scores in trial.measure(0, None)]
    assert [judge(claim, cells).seeds for claim in trial.claims] == [1] * len(trial.claims)
