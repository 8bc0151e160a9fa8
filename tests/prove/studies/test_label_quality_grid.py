"""The card's grid on scikit-learn's digits: detectors beat both trivial baselines; cells are kept; ranks by hand."""

import json

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.prove import label_arms
from kintsugi.prove.studies.label_quality_grid import (
    DETECTORS,
    NOTHING,
    RANDOM,
    LabelQualityGrid,
    _cells,
    _ranks,
    run_grid,
)

SMALL = {"datasets": ("digits",), "seeds": (0,), "images": 700, "noises": ("uniform",), "rates": (0.4,)}


def test_a_cell_is_measured_once_and_trivial_baselines_are_what_they_must_be(tmp_path, monkeypatch):
    result = run_grid(tmp_path, **SMALL)
    rows = {row["detector"]: row for row in result["table"]}
    assert set(DETECTORS) | {NOTHING, RANDOM, label_arms.TRUTH} <= set(rows)
    rate = rows[NOTHING]["wrong"]
    assert rows[NOTHING]["F1"] == 0
    assert rows[NOTHING]["average precision"] == pytest.approx(rate)
    assert rows[RANDOM]["F1"] == pytest.approx(rate, abs=0.1)  # at the true rate precision, recall and F1 are the rate
    assert rows[label_arms.TRUTH]["F1"] == rows[label_arms.TRUTH]["average precision"] == 1
    assert rows[label_arms.TRUTH]["test F1 after dropping"] > rows[NOTHING]["test F1 after dropping"]
    for name in DETECTORS:
        assert rows[name]["F1"] > rows[RANDOM]["F1"] + 0.1, name
    assert json.loads((tmp_path / "grid.json").read_text())["table"] == result["table"]

    def never(*cell):
        raise AssertionError(f"{cell} is measured again")

    monkeypatch.setattr("kintsugi.prove.studies.label_quality_grid.measure", never)
    assert run_grid(tmp_path, **SMALL)["table"] == result["table"]
    with pytest.raises(BadData):
        run_grid(tmp_path, **{**SMALL, "images": 800})


def test_what_was_measured_before_an_interruption_is_kept(tmp_path, monkeypatch):
    asked = {"datasets": ("digits",), "seeds": (0, 1), "noises": ("uniform", "asymmetric"), "rates": (0.1, 0.4)}
    told = []

    def measured(dataset, noise, rate, seed, images, cache):
        told.append((noise, rate, seed))
        if len(told) == 3:
            raise KeyboardInterrupt
        return [{"detector": d, "F1": rate, "average precision": 0.5} for d in (*DETECTORS, NOTHING)]

    monkeypatch.setattr("kintsugi.prove.studies.label_quality_grid.measure", measured)
    with pytest.raises(KeyboardInterrupt):
        run_grid(tmp_path, **asked)
    result = run_grid(tmp_path, **asked)
    assert told[:3] == [("uniform", 0.1, 0), ("uniform", 0.4, 0), ("asymmetric", 0.1, 0)]
    assert len(told) == 3 + 6  # two of eight were kept
    assert len(set(told)) == 8
    assert {row["seeds"] for row in result["table"]} == {2}


def test_a_cell_without_a_wrong_label_is_refused():
    with pytest.raises(BadData, match="No label is wrong"):
        run_grid(None, **{**SMALL, "images": 200, "rates": (1e-6,)})


def test_people_gave_labels_to_one_data_set_alone():
    cells = _cells(("mnist", "cifar10"), (0,), ("uniform", "worse_label"), (0.1, 0.4))
    planted = [(dataset, "uniform", rate, 0) for dataset in ("mnist", "cifar10") for rate in (0.1, 0.4)]
    assert sorted(cells) == sorted([*planted, ("cifar10", "worse_label", 0.4, 0)])
    with pytest.raises(BadArgument, match="noises"):
        run_grid(None, datasets=("digits",), noises=("worse_label",))


def test_ranks_by_hand():
    def rows(values):
        return [{"detector": d, "F1": v, "average precision": v} for d, v in zip(DETECTORS, values, strict=True)]

    cells = {("a", "u", 0.1, 0): rows([6, 5, 4, 3, 2, 1]), ("b", "u", 0.1, 0): rows([5, 6, 4, 3, 2, 2])}
    made = _ranks(cells)["F1"]
    assert list(made["mean rank"].values()) == [1.5, 1.5, 3.0, 4.0, 5.25, 5.75]
    assert made["cells"] == 2
    # Demsar 2006, table 5: q = 2.850 for six classifiers
    assert made["critical difference"] == pytest.approx(2.850 * np.sqrt(6 * 7 / 12), abs=0.01)
    assert made["Friedman p"] < 0.2


def test_bad_parameters():
    bad = {"datasets": ("mnits",), "noises": ("dissent",), "rates": (0.0,), "seeds": 0, "images": 5}
    for name, value in bad.items():
        with pytest.raises(BadArgument, match=name):
            LabelQualityGrid(**{name: value})


@pytest.mark.slow
def test_the_cards_grid_on_digits():
    """4 noises, 2 rates, 3 seeds: F1 of wrong labels above both baselines in every cell except asymmetric 0.4."""
    grid = LabelQualityGrid(("digits",), seeds=3, images=1200)
    result, verdict = grid.run([], None, 0)
    rows = {(r["noise"], r["rate"], r["detector"]): r["F1"] for r in result["table"]}
    for (noise, rate, name), value in rows.items():
        if name in DETECTORS and (noise, rate) != ("asymmetric", 0.4):
            assert value > max(rows[noise, rate, NOTHING], rows[noise, rate, RANDOM]), (noise, rate, name)
    assert rows["uniform", 0.1, "label_errors"] > 0.8
    assert verdict.word in ("better", "not proven")
