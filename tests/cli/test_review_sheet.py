"""Where no check can tell how many labels are wrong, a sheet of samples drawn at random is filled in and read."""

import csv

import numpy as np
import pytest
from asking import ask, refused
from sklearn.datasets import load_digits


@pytest.fixture
def digits(tmp_path):
    """300 digits, every tenth label wrong: too few of ten classes to tell how many from outputs alone."""
    raw = load_digits()
    label = raw.target[:300].copy()
    label[::10] = (label[::10] + 1) % 10
    path = tmp_path / "digits.npz"
    np.savez(path, x=np.rint(raw.images[:300] / 16 * 255).astype(np.uint8), y=label)
    return path


def rows_of(path):
    with path.open(newline="") as held:
        return list(csv.DictReader(held))


def write(path, rows, delimiter=","):
    with path.open("w", newline="") as out:
        sheet = csv.DictWriter(out, rows[0], delimiter=delimiter)
        sheet.writeheader()
        sheet.writerows(rows)


def audit(capsys, digits, out, *more):
    return ask(capsys, "audit", digits, "--checks", "label_errors", "--out", out, "--quiet", *more)["checks"][0]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_filled_sheet_says_how_many_labels_are_wrong(digits, tmp_path, capsys, delimiter):
    found = audit(capsys, digits, tmp_path / "run")
    assert found["estimated"] is None
    assert any("review 200 samples drawn at random" in note for note in found["notes"])
    sheet = tmp_path / "run/audit/review.csv"
    rows = rows_of(sheet)
    assert len({row["id"] for row in rows}) == len(rows) == 200
    number = np.array([int(row["id"].rpartition("/")[2].rpartition("#")[2]) for row in rows])
    wrong = number % 10 == 0
    for row, bad in zip(rows, wrong, strict=True):
        row["verdict"] = "Wrong" if bad else "right"
    write(sheet, rows, delimiter)
    found = audit(capsys, digits, tmp_path / "run", "--reviewed", sheet)
    assert found["interval"][0] < 30 < found["interval"][1]
    assert any("200 reviewed samples" in note for note in found["notes"])
    # What a person wrote stays, and half of it is not enough.
    for row in rows[100:]:
        row["verdict"] = ""
        row["id"] = str(int(row["id"]))  # as a spreadsheet may save it
    write(sheet, rows, delimiter)
    before = sheet.read_bytes()
    found = audit(capsys, digits, tmp_path / "run", "--reviewed", sheet)
    assert found["estimated"] is None
    assert any("100 are missing" in note for note in found["notes"])
    assert sheet.read_bytes() == before


def test_a_sheet_that_is_wrong_is_refused(digits, tmp_path, capsys):
    audit(capsys, digits, tmp_path / "run")
    sheet, bad = tmp_path / "run/audit/review.csv", tmp_path / "bad.csv"

    def said(**changed):
        rows = rows_of(sheet)
        rows[3] |= changed
        write(bad, rows)
        return refused(capsys, "audit", digits, "--reviewed", bad, "--out", tmp_path / "run", "--quiet")

    assert "line 5: verdict is 'yes'" in said(verdict="yes")
    assert "line 5 was drawn from another data set" in said(data="x")
    assert "no sample 'nobody'" in said(id="nobody")
    assert "stands there twice" in said(id=rows_of(sheet)[0]["id"])
    write(bad, [{"id": "0"}])
    asked = ["audit", digits, "--out", tmp_path / "run", "--quiet", "--reviewed"]
    assert "has no column 'data'" in refused(capsys, *asked, bad)
    assert "does not exist" in refused(capsys, *asked, tmp_path / "none.csv")
    bad.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(capsys, *asked, bad)


def test_the_sheet_of_other_data_is_kept(digits, tmp_path, capsys):
    audit(capsys, digits, tmp_path / "run")
    sheet = tmp_path / "run/audit/review.csv"
    rows = rows_of(sheet)
    write(sheet, [{**row, "data": "other", "verdict": "right"} for row in rows])
    audit(capsys, digits, tmp_path / "run")
    assert rows_of(sheet)[0]["verdict"] == ""
    assert rows_of(tmp_path / "run/audit/review-1.csv")[0]["verdict"] == "right"
