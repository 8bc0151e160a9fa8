"""Every verb on a folder of photographs: what it prints and what it writes."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from asking import ask

from kintsugi.api.audit import CHECKS
from kintsugi.cli.main import main
from kintsugi.data.formats import open_data


def test_audit(photos, weights, tmp_path, capsys):
    said = ask(capsys, "audit", photos, "--model", "small:cnn", "--weights", weights, "--out", tmp_path, "--quiet")
    assert [check["check"] for check in said["checks"]] == list(CHECKS)
    assert "k-fold" in " ".join(said["notes"]) or "fold heads" in " ".join(said["notes"])
    assert pq.read_table(tmp_path / "audit/findings.parquet").num_rows >= len(said["flagged"])


def test_audit_needs_no_model(photos, tmp_path, capsys):
    assert main(["audit", str(photos), "--out", str(tmp_path), "--quiet"]) == 0
    assert "80 images, 2 classes" in capsys.readouterr().out


def test_stress(photos, weights, tmp_path, capsys):
    said = ask(
        capsys, "stress", "small:cnn", photos, "--weights", weights, "--out", tmp_path, "--quiet",
        "--method", "gaussian_noise", "--method", "fgsm",
    )  # fmt: skip
    assert {row["name"] for row in said["rows"]} == {"clean", "gaussian_noise", "fgsm"}
    assert all(0 <= row["worst"] <= row["average"] <= 1 for row in said["rows"])


def test_discover(photos, weights, tmp_path, capsys):
    said = ask(capsys, "discover", "small:cnn", photos, "--weights", weights, "--out", tmp_path, "--quiet")
    assert sum(said["groups"].values()) == 16


@pytest.mark.parametrize("method", ["last_layer", "erm", "mixup"])
def test_repair(photos, weights, tmp_path, capsys, method):
    said = ask(
        capsys, "repair", "small:cnn", photos, "--weights", weights, "--with", method, "--out", tmp_path, "--quiet",
        "--epochs", 1, "--device", "cpu",
    )  # fmt: skip
    assert said["verdict"]["word"] in ("better", "worse", "not proven")
    assert said["verdict"]["groups"]
    assert (tmp_path / method / "weights.safetensors").exists()


def test_a_repaired_model_opens_from_its_folder(photos, weights, tmp_path, capsys):
    ask(
        capsys, "repair", "small:cnn", photos, "--weights", weights, "--with", "erm", "--out", tmp_path / "a",
        "--quiet", "--epochs", 1, "--device", "cpu",
    )  # fmt: skip
    said = ask(capsys, "stress", tmp_path / "a/erm", photos, "--out", tmp_path / "b", "--quiet", "--method", "fgsm")
    assert said["rows"][0]["name"] == "clean"


def test_a_dry_run_writes_nothing(photos, weights, tmp_path, capsys):
    common = [photos, "--weights", weights, "--out", tmp_path / "none", "--quiet", "--dry-run"]
    assert ask(capsys, "repair", "small:cnn", *common, "--with", "erm")["method"] == "erm"
    assert "clean" in ask(capsys, "mend", *common, "--model", "small:cnn")["rungs"]
    assert ask(capsys, "audit", *common, "--model", "small:cnn")["images"] == 80
    assert ask(capsys, "stress", "small:cnn", *common)["images"] == 16
    assert ask(capsys, "discover", "small:cnn", *common)["method"] == "george"
    assert len(ask(capsys, "prove", "config", "--out", tmp_path / "none", "--dry-run")["units"]) == 6
    assert not (tmp_path / "none").exists()


def test_mend_and_report(photos, weights, tmp_path, capsys):
    common = [photos, "--model", "small:cnn", "--weights", weights, "--out", tmp_path, "--quiet", "--device", "cpu"]
    said = ask(capsys, "mend", *common, "--epochs", 1)
    tried = {rung["name"]: rung for rung in said["tried"]}
    assert tried["last_layer"]["score"] is not None
    assert "teacher" in tried["distill"]["note"]
    assert "generator" in tried["config"]["note"] or "teacher" in tried["config"]["note"]
    assert sum(rung["chosen"] for rung in said["tried"]) == 1
    page = tmp_path / "report.html"
    before = page.read_text()
    page.unlink()
    assert ask(capsys, "report", tmp_path)["report"] == str(page)
    assert page.read_text() == before
    again = ask(capsys, "mend", *common, "--epochs", 1)  # every rung is read back, not repeated
    assert again["tried"] == said["tried"]


def test_a_spent_budget_tries_nothing_dear(photos, weights, tmp_path, capsys):
    said = ask(
        capsys, "mend", photos, "--model", "small:cnn", "--weights", weights, "--out", tmp_path, "--quiet",
        "--budget", 0, "--device", "cpu",
    )  # fmt: skip
    assert all("not tried" in rung["note"] for rung in said["tried"][1:])
    assert said["verdict"] is None


def predictions(path, ids, prob):
    np.savez(path, id=np.array(ids), prob=prob)
    return path


def test_compare_predictions(photos, tmp_path, capsys):
    data = open_data(photos)
    right = np.eye(2)[data.labels] * 0.8 + 0.1
    wrong = right.copy()
    wrong[::3] = wrong[::3, ::-1]
    before, after = predictions(tmp_path / "b.npz", data.ids, wrong), predictions(tmp_path / "a.npz", data.ids, right)
    assert ask(capsys, "compare", before, after, photos, "--all", "--quiet")["word"] == "better"
    assert ask(capsys, "compare", after, before, photos, "--all", "--quiet")["word"] == "worse"
    assert ask(capsys, "compare", after, after, photos, "--all", "--quiet", "--check", code=1)["word"] == "not proven"
