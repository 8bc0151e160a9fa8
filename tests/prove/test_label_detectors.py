"""The trials of detectors of wrong labels: every claim can be judged, and chance and rules are what they are called."""

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument
from kintsugi.core.run import Run
from kintsugi.prove import label_cells
from kintsugi.prove.label_arms import NOTHING, RANDOM, chance
from kintsugi.prove.label_cells import drawn, planted, row_of, rows_of
from kintsugi.prove.label_detectors import mean_of
from kintsugi.prove.label_scores import plain_rules
from kintsugi.prove.processes import spread
from kintsugi.prove.runner import trial_of
from kintsugi.prove.small import digits, redrawn_labels
from kintsugi.prove.studies import label_quality_grid as study
from kintsugi.prove.trial import judge
from kintsugi.prove.trials.label_quality_grid import _measure

DETECTORS = ("aum", "cincer", "simifeat", "beta_mixture")


def test_a_cell_holds_what_was_planted_and_the_trivial_arms_know_nothing_else():
    of = drawn("test", "digits", 0, 300, test=10)
    cell = planted(of, "uniform", 0.4)
    assert cell.row == row_of("digits", "uniform", 0.4) == "digits, uniform 0.4"
    np.testing.assert_array_equal(cell.wrong, cell.data.labels != of.data.labels)
    assert 0.3 < cell.wrong.mean() < 0.5
    assert of.test_features.shape == (10, of.features.shape[1])
    arms = dict(chance(cell))
    assert not arms[NOTHING][0].any()
    assert arms[RANDOM][0].sum() == cell.wrong.sum()
    again = planted(drawn("test", "digits", 0, 300), "uniform", 0.4)
    np.testing.assert_array_equal(again.data.labels, cell.data.labels)
    np.testing.assert_array_equal(again.outputs.prob, cell.outputs.prob)


def test_rules_by_hand():
    prob = np.array([[0.45, 0.3, 0.25], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1]])
    space = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]], dtype=np.float32)
    rules = plain_rules(np.array([0, 0, 1]), prob, space, 1)
    assert [flagged.tolist() for flagged, _ in rules.values()] == [
        [False, True, False],
        [True, True, False],
        [False, False, True],
    ]


def test_a_half_of_the_labels_is_redrawn_from_all_classes():
    data, wrong = redrawn_labels(digits(0)[0], 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(wrong, data.labels != digits(0)[0].labels)
    assert wrong.mean() == pytest.approx(0.45, abs=0.04)


@pytest.mark.data
@pytest.mark.parametrize("name", DETECTORS)
def test_every_claim_about_a_data_set_can_be_judged(name, monkeypatch):
    monkeypatch.setitem(label_cells.IMAGES, "mnist", 250)
    trial = trial_of(name)
    assert {claim.row for claim in trial.claims} >= {mean_of("cifar10"), *rows_of("cifar10")}
    cells = trial.run("mnist-seed-0", Run(None))
    mine = [claim for claim in trial.claims if claim.row.startswith("mnist")]
    assert len(mine) >= 8
    assert [judge(claim, cells).seeds for claim in mine] == [1] * len(mine)
    hard = [claim for claim in mine if claim.row == "mnist, asymmetric 0.4"]
    assert all(claim.shown_only for claim in hard)


@pytest.mark.data
def test_the_grids_trial_judges_what_it_measures(monkeypatch, tmp_path):
    told = []

    def small(out, **how):
        told.append(out)
        return study.run_grid(out, **how, images=200, noises=("uniform", "worse_label"), rates=(0.1,))

    monkeypatch.setattr("kintsugi.prove.trials.label_quality_grid.run_grid", small)
    cells = list(_measure("mnist", 0, Run(tmp_path)))
    assert told == [tmp_path / "grid"]
    assert {row for row, _, _ in cells} == {"mnist, uniform 0.1", "mnist, mean of all cells"}
    assert {arm for _, arm, _ in cells} >= {*study.DETECTORS, NOTHING, RANDOM}


@pytest.mark.slow
def test_work_is_spread_over_processes_and_an_error_is_told():
    assert sorted(spread(abs, [-3, 2], 2)) == [(-3, 3), (2, 2)]
    assert list(spread(abs, [-3, 2], 1)) == [(-3, 3), (2, 2)]
    with pytest.raises(TypeError):
        list(spread(abs, ["a", "b"], 2))


@pytest.mark.parametrize("name", [*DETECTORS, "label_quality_grid"])
def test_there_is_one_setting_and_three_seeds_at_least(name):
    with pytest.raises(BadArgument, match="setting"):
        trial_of(name, "photos")
    with pytest.raises(BadArgument, match="seeds"):
        trial_of(name).units(2)
