"""From an audit's proposal to a cleaned copy and back, on the command line."""

import json
import shutil

import pytest
from asking import ask, refused

from kintsugi.core.files import read_lines
from kintsugi.data.formats import open_data


@pytest.fixture
def doubled(few, tmp_path):
    """The photographs, one of them twice."""
    root = tmp_path / "data"
    shutil.copytree(few, root)
    shutil.copy(root / "flower/00.jpg", root / "flower/zz.jpg")
    return root


def test_propose_apply_undo(doubled, tmp_path, capsys):
    ask(capsys, "audit", doubled, "--out", tmp_path / "run", "--quiet")
    proposed = tmp_path / "run/audit/proposed.jsonl"
    drops = [each for each in read_lines(proposed) if each["action"] == "drop"]
    assert ["flower/zz.jpg"] in [each["ids"] for each in drops]
    only = tmp_path / "run/audit/mine.jsonl"
    only.write_text("".join(json.dumps(each) + "\n" for each in drops if each["ids"] == ["flower/zz.jpg"]))

    said = ask(capsys, "audit", doubled, "--apply", only, "--out", tmp_path / "new", "--quiet")
    assert (said["images"], said["dropped"], said["relabelled"]) == (24, 1, 0)
    patch = json.loads((tmp_path / "new/patch.json").read_text())
    assert "same picture" in patch["changes"][0]["why"]
    assert "flower/zz.jpg" not in open_data(tmp_path / "new").ids
    assert (doubled / "flower/zz.jpg").exists()
    assert ask(capsys, "audit", tmp_path / "new", "--out", tmp_path / "again", "--quiet")["checks"]

    back = ask(capsys, "audit", tmp_path / "new", "--undo", tmp_path / "new/patch.json", "--out", tmp_path / "back")
    assert back["images"] == 25
    assert open_data(tmp_path / "back").ids == open_data(doubled).ids


def test_a_proposal_that_a_person_changed_is_kept(doubled, tmp_path, capsys):
    proposed = tmp_path / "run/audit/proposed.jsonl"
    ask(capsys, "audit", doubled, "--out", tmp_path / "run", "--quiet")
    before = proposed.read_text()
    ask(capsys, "audit", doubled, "--out", tmp_path / "run", "--quiet")
    assert proposed.read_text() == before  # the same again is no reason to write
    proposed.write_text(before.replace('"accept"', '"reject"', 1))
    ask(capsys, "audit", doubled, "--out", tmp_path / "run", "--quiet")
    assert '"reject"' in (tmp_path / "run/audit/proposed-1.jsonl").read_text()
    assert '"reject"' not in proposed.read_text()


def test_bad_requests(doubled, few, tmp_path, capsys):
    ask(capsys, "audit", doubled, "--out", tmp_path / "run", "--quiet")
    proposed = tmp_path / "run/audit/proposed.jsonl"
    assert "name it with --out" in refused(capsys, "audit", doubled, "--apply", proposed)
    assert "other data" in refused(capsys, "audit", few, "--apply", proposed, "--out", tmp_path / "x").replace(
        "another data set", "other data"
    )
    assert "no view" in refused(capsys, "audit", doubled, "--undo", proposed, "--out", tmp_path / "x")
    assert "either" in refused(capsys, "audit", doubled, "--undo", proposed, "--apply", proposed, "--out", "x")
    assert "does not exist" in refused(capsys, "audit", doubled, "--apply", "none.jsonl", "--out", tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept.txt").write_text("mine")
    assert "never overwritten" in refused(capsys, "audit", doubled, "--apply", proposed, "--out", tmp_path / "full")
    assert ask(capsys, "audit", doubled, "--apply", proposed, "--out", tmp_path / "x", "--dry-run")["decisions"]
    assert not (tmp_path / "x").exists()
