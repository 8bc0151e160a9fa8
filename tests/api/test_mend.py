"""The whole loop: groups inferred where none are known, the budget kept, interrupted work taken up again."""

import json

import numpy as np
import pytest
from patches import case_of, patches, quick

from kintsugi.api import mend
from kintsugi.api.stress import stress
from kintsugi.core.budget import BudgetSpent, within
from kintsugi.core.errors import BadData
from kintsugi.core.run import Run


def test_without_attributes_groups_are_inferred_and_classes_compared(tmp_path):
    case = case_of(patches(), tmp_path)
    done = case.mend(how=quick(steps=30, lr=3e-3), rungs=["last_layer", "group_balanced", "group_dro"])
    tried = {rung.name: rung for rung in done.tried}
    for name in ("last_layer", "group_balanced", "group_dro"):
        assert tried[name].score is not None
        assert "inferred by george on the training part: 4" in tried[name].note
    page = (tmp_path / "report.html").read_text()
    assert "inferred by george" in page
    assert "the classes: no attribute was named" in page
    assert done.verdict is not None  # fresh weights know nothing: any repair is better on the selection part
    assert {effect.group for effect in done.verdict.groups} == {"worst group", "average", "label=a", "label=b"}


def test_with_attributes_groups_are_known(tmp_path):
    done = case_of(patches(), tmp_path, attributes=("place",)).mend(how=quick(), rungs=["group_dro"])
    assert "groups by label and place: 4" in done.tried[1].note


def test_the_budget_bounds_a_rung_and_more_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(mend._Clock, "share", lambda clock, of: 2.0 * of)  # two seconds for every rung
    slow, rungs = quick(steps=10**6), ["group_balanced", "group_dro"]
    done = case_of(patches(), tmp_path).mend(how=slow, rungs=rungs, budget=2.0)
    assert [rung.note for rung in done.tried[1:]] == ["stopped: the budget of 2 s was spent"] * 2
    assert all(rung.score is None and 1 < rung.seconds < 60 for rung in done.tried[1:])
    assert done.verdict is None
    runs = [Run(tmp_path / "rungs" / name) for name in rungs]
    assert not any(run.path("tried.json").exists() for run in runs)
    steps = [run.metrics()[-1]["step"] for run in runs]
    case_of(patches(), tmp_path).mend(how=slow, rungs=rungs, budget=2.0)
    assert all(run.metrics()[-1]["step"] > step for run, step in zip(runs, steps, strict=True))


def test_a_second_look_at_the_holdout_is_said(tmp_path, monkeypatch):
    rungs = ["group_balanced", "group_dro"]
    notes = {}
    for choice in (*rungs, rungs[1]):
        monkeypatch.setattr(mend, "_choose", lambda tried, tolerance, choice=choice: choice)
        done = case_of(patches(), tmp_path).mend(how=quick(), rungs=rungs)
        notes[choice] = [note for note in done.notes if "hold-out" in note]
    assert notes["group_balanced"] == []
    assert "opened before, for group_balanced" in notes["group_dro"][0]
    assert json.loads((tmp_path / "holdout.json").read_text()) == {"opened for": rungs}


def test_no_time_at_all_is_said(tmp_path):
    done = case_of(patches(), tmp_path).mend(budget=0.0)
    assert done.stress is None
    assert done.discovery is None
    assert len(done.notes) == 2
    assert json.dumps(done.as_dict())


def test_a_bound_of_the_callers_own_is_not_taken_for_the_budget(tmp_path):
    case = case_of(patches(), tmp_path)
    with pytest.raises(BudgetSpent), within(8.0):
        case.mend(how=quick(steps=10**6), rungs=["group_balanced"])


def test_stress_leaves_out_the_dearest_and_says_so(tmp_path):
    case = case_of(patches(), tmp_path)
    short = stress(case, budget=0.0)
    assert [row.name for row in short.rows] == ["clean"]
    assert "0 of" in short.notes[0]
    assert "pgd at eps" in short.notes[0]
    assert short.findings.summary.notes == short.notes
    whole = stress(case, methods=["fgsm", "watermark"], eps=[0.1])
    assert [row.kind for row in whole.rows] == ["clean", "attack", "bias"]
    assert whole.rows[1].average <= whole.rows[0].average  # what was wrong is not attacked, so it stays wrong


def test_an_audit_has_a_report(tmp_path):
    case = case_of(patches(), tmp_path)
    found = case.audit()
    page = (tmp_path / "audit/report.html").read_text()
    assert "findings to look at" in page or "Nothing was flagged" in page or "finding to look at" in page
    assert any("agree with" in note for note in found.notes)
    assert case.report("audit") == tmp_path / "audit/report.html"
    with pytest.raises(BadData, match="report.json"):
        case.report()


def test_models_and_predictions_are_compared_by_name(tmp_path):
    data = patches()
    case = case_of(data, tmp_path)
    for name, share in (("before", 0.6), ("after", 0.9)):
        prob = np.where(np.eye(2)[data.labels] > 0, share, 1 - share)
        prob[: len(data) // 3] = prob[: len(data) // 3, ::-1] if name == "before" else prob[: len(data) // 3]
        np.savez(tmp_path / f"{name}.npz", id=np.array(data.ids), prob=prob)
    assert case.compare(tmp_path / "before.npz", str(tmp_path / "after.npz"), data=data, save=True).word == "better"
    assert "Two classifiers of 2 classes" in (tmp_path / "compare/report.html").read_text()
