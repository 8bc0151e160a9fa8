"""Bad input gets a clear answer and loses nothing, line by line as a person meets it on the command line.

Here: classes, groups, tables, shards, predictions, checkpoints, arguments, full disks, folders in use. Images, their
names and links stand beside it in ``test_bad_images.py``.
"""

import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
from asking import MODEL, ask, refused

from kintsugi.api.audit import ANSWERED, CHECKS
from kintsugi.api.case import Case
from kintsugi.cli.main import main
from kintsugi.core.run import Run
from kintsugi.data.formats import open_data

# --------------------------------------------------------------------------------- classes, labels, groups, tables


def test_one_class_only(few, tmp_path, capsys):
    shutil.copytree(few / "flower", tmp_path / "data/flower")
    said = ask(capsys, "audit", tmp_path / "data", "--out", tmp_path / "out")
    assert [check["check"] for check in said["checks"]] == [name for name in CHECKS if name not in ANSWERED]
    assert any("every label is 'flower'" in note for note in said["notes"])
    for words in (["mend", tmp_path / "data", *MODEL], ["repair", "small:cnn", tmp_path / "data", "--with", "erm"]):
        said = refused(capsys, *words, "--out", tmp_path / "out")
        assert "every labelled sample is 'flower'" in said
        assert "two classes" in said


def test_groups_of_one_sample(few, tmp_path, capsys):
    root = shutil.copytree(few, tmp_path / "data")
    ids = open_data(few).ids
    lines = [f"{name},{name.split('/')[0]},place {number}" for number, name in enumerate(ids)]
    (root / "metadata.csv").write_text("\n".join(["file_name,label,place", *lines]))
    said = ask(capsys, "mend", root, "--attribute", "place", *MODEL, "--out", tmp_path / "out")
    rungs = {rung["name"]: rung for rung in said["tried"]}
    assert "No group has two samples" in rungs["last_layer"]["note"]  # what cannot be done says why, the others go on
    assert rungs["group_dro"]["score"] is not None
    np.savez(tmp_path / "p.npz", id=np.array(ids), prob=np.full((len(ids), 2), 0.5))
    common = [root, "--attribute", "place", "--all", "--out", tmp_path / "out"]
    said = ask(capsys, "compare", tmp_path / "p.npz", tmp_path / "p.npz", *common)
    assert said["word"] == "not proven"
    assert "too small to decide" in said["rule"]


TABLES = {  # the table, what is asked besides, what is said
    "label,file_name\n0,a.jpg\n7,a.jpg\n": (["--names", "cat,dog"], "The label 7 in", "--names"),
    "label,file_name\nemu,a.jpg\n": (["--names", '"cat, big",dog'], "outside the 2 classes (cat, big, dog)", "--names"),
    "label,file_name\n0,nowhere.jpg\n": ([], "'nowhere.jpg', is missing", "--root"),
    "label,file_name\n0,../a.jpg\n": ([], "'../a.jpg', is outside", "--root"),
    "label,file_name\n0,/etc/hostname\n": ([], "'/etc/hostname', is outside", "--root"),
    "label,file_name,label\n0,a.jpg,0\n": ([], "2 columns called 'label'", "its own name"),
    "label,file_name\n": ([], "holds no images", "Name a"),
    "label\n0\n": ([], "no column with a usual name for image files", "Name it"),
    "": ([], "cannot be read as a table", "CSV with a header"),
    "label,file_name\n0,a.jpg\n": (["--label", "y"], "label='y'", "It has: label, file_name"),
}


@pytest.mark.parametrize("text", TABLES, ids=lambda text: text[:30] or "empty")
def test_tables_that_cannot_be_used(few, tmp_path, capsys, text):
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        shutil.copy(few / "flower/00.jpg", folder / "a.jpg")
    (tmp_path / "in/t.csv").write_text(text)
    more, *phrases = TABLES[text]
    said = refused(capsys, "audit", tmp_path / "in/t.csv", *more, "--out", tmp_path / "out")
    assert all(phrase in said for phrase in [*phrases, "t.csv"]), said
    assert not (tmp_path / "out").exists()


def test_a_shard_with_names_that_lead_out(few, tmp_path, capsys):
    shard = tmp_path / "in/s.tar"
    shard.parent.mkdir()
    photo = (few / "flower/00.jpg").read_bytes()
    members = {
        f"{name}{k}": (few / name / f"{k:02d}.jpg").read_bytes() for name in ("flower", "temple") for k in (1, 2)
    }
    members |= {"cut": photo[:300], "../../evil": photo, "/evil": photo}
    with tarfile.open(shard, "w") as tar:
        for name, content in members.items():
            for suffix, data in (("jpg", content), ("cls", b"1" if "temple" in name else b"0")):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    said = ask(capsys, "audit", shard, "--out", tmp_path / "out")
    reasons = {problem["where"].rsplit(":", 1)[1]: problem["reason"] for problem in said["left_out"]}
    assert reasons == {
        "cut.jpg": "truncated", "../../evil.jpg": "outside", "../../evil.cls": "outside", "/evil.jpg": "outside",
        "/evil.cls": "outside", "link.jpg": "unreadable",
    }  # fmt: skip
    assert len(said["checks"]) == len(CHECKS)
    assert not (tmp_path.parent / "evil.jpg").exists()
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in {p["reason"] for p in ask(capsys, "audit", shard, "--out", tmp_path / "out")["left_out"]}
    shard.write_bytes(b"")
    assert "s.tar is not a tar file" in refused(capsys, "audit", shard, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "phrase"),
    [("", "data=''"), ("nowhere", "nowhere does not exist"), ("hollow", "hollow holds no images"),
     ("notes.docx", "notes.docx is of no known format"), ("pickle.npz", "pickle.npz cannot be read")],
)  # fmt: skip
def test_what_is_no_data(tmp_path, capsys, data, phrase):
    (tmp_path / "hollow").mkdir()
    (tmp_path / "notes.docx").touch()
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps([1]))
    assert phrase in refused(capsys, "audit", tmp_path / data if data else "", "--out", tmp_path / "out")


# ------------------------------------------------------------------------------------------ models and predictions

PREDICTIONS = {  # what is done to a good file's ids and probabilities, what is said
    "nan": (lambda ids, prob: (ids, np.where(np.arange(len(ids))[:, None] == 3, np.nan, prob)), "NaN", "Remove"),
    "unnormalised": (lambda ids, prob: (ids, prob * 3), "not probabilities for 24 of 24", "logits"),
    "percent": (lambda ids, prob: (ids, prob * 100), "not probabilities", "by 100"),
    "other ids": (lambda ids, prob: ([f"x{i}" for i in ids], prob), "no prediction for 24 of 24", "ids are like 'x"),
    "too few": (lambda ids, prob: (ids[:5], prob[:5]), "no prediction for 19 of 24", "one row a sample"),
    "twice": (lambda ids, prob: ([ids[0]] * len(ids), prob), "23 repeated ids", "one row a sample"),
    "other shape": (lambda ids, prob: (ids, prob[:5]), "shape (5, 2) for 24 ids", "one row an id"),
    "three classes": (lambda ids, prob: (ids, np.full((len(ids), 3), 1 / 3)), "3 classes, the data has 2", "--classes"),
    "objects": (lambda ids, prob: (np.array(ids, dtype=object), prob), "cannot be read as npz", "plain arrays"),
}


@pytest.mark.parametrize("what", PREDICTIONS)
def test_predictions_that_cannot_be_used(few, tmp_path, capsys, what):
    data = open_data(few)
    spoil, *phrases = PREDICTIONS[what]
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    prob = np.eye(2)[data.labels] * 0.6 + 0.2
    for path, (ids, values) in ((good, (data.ids, prob)), (bad, spoil(data.ids, prob))):
        np.savez(path, id=np.array(ids), prob=values)
    said = refused(capsys, "compare", good, bad, few, "--all", "--out", tmp_path / "out")
    assert all(phrase in said for phrase in phrases), said
    assert "bad.npz" in said or what == "three classes"


def test_an_audit_with_other_ids_does_what_it_can(few, tmp_path, capsys):
    data = open_data(few)
    np.savez(tmp_path / "p.npz", id=np.array([f"x{i}" for i in data.ids]), prob=np.full((len(data), 2), 0.5))
    common = ["audit", few, "--model", tmp_path / "p.npz", "--held-out", "yes", "--out", tmp_path / "out"]
    said = ask(capsys, *common, code=2)
    assert [check["check"] for check in said["checks"]] == [name for name in CHECKS if name not in ANSWERED]
    assert {undone["check"] for undone in said["undone"]} == set(CHECKS) & set(ANSWERED)
    assert all("p.npz has no prediction for 24 of 24 samples" in undone["why"] for undone in said["undone"])
    np.savez(tmp_path / "p.npz", id=np.array(data.ids), prob=np.eye(2)[data.labels] * 0.6 + 0.2)
    assert len(ask(capsys, *common)["checks"]) == len(CHECKS)


class Bomb:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["a.pth", "a.ckpt", "a.bin", "a.npz", "a.safetensors", "saved.pth", "empty.pth"])
def test_a_pickle_is_no_checkpoint_and_is_never_run(few, tmp_path, capsys, name):
    bomb = Bomb(tmp_path / "exploded")
    if name == "saved.pth":
        torch.save({"weight": bomb}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"" if name == "empty.pth" else pickle.dumps(bomb))
    said = refused(capsys, "audit", few, *MODEL[:2], "--weights", tmp_path / name, "--out", tmp_path / "out")
    assert name in said
    assert not (tmp_path / "exploded").exists()


def test_models_that_cannot_do_what_is_asked(few, tmp_path, capsys):
    data = open_data(few)
    np.savez(tmp_path / "p.npz", id=np.array(data.ids), prob=np.full((len(data), 2), 0.5))
    common = [few, "--out", tmp_path / "out"]
    for words in (["repair", "--with", "erm"], ["discover"], ["stress"]):
        said = refused(capsys, words[0], tmp_path / "p.npz", *common, *words[1:])
        assert "black box" in said
        assert "weights" in said
    assert "teacher" in refused(capsys, "repair", "small:cnn", *common, "--with", "distill")
    assert "'nonsense'" in refused(capsys, "repair", "small:cnn", *common, "--with", "last_layer", "--nonsense", 1)
    assert "--model" in refused(capsys, "mend", *common)
    many = ",".join(f"class {number}" for number in range(300))  # longer than a file's name may be
    assert "classes" in refused(capsys, "stress", "small:cnn", *common, "--classes", many)


ARGUMENTS = {
    "--tolerance -5": ("tolerance=-5.0", "0 to 1"),
    "--budget nan": ("budget=nan", "seconds"),
    "--epochs 0": ("epochs=0", "from 1"),
    "--lr -1": ("lr=-1.0", "above 0"),
    "--rung nonsense": ("'nonsense'", "clean"),
    "--device tpu": ("device='tpu'", "cpu"),
    "--format zip": ("format='zip'", "folder"),
    "--attribute colour": ("'colour'", "Leave it out"),
    "--weights nowhere.pth": ("nowhere.pth is not a file", "Name"),
    "--model no_such": ("'no_such'", "timm:NAME"),
}


@pytest.mark.parametrize("words", ARGUMENTS)
def test_arguments_that_are_not_allowed(few, tmp_path, capsys, words):
    said = refused(capsys, "mend", few, *MODEL, *words.split(), "--out", tmp_path / "out")
    assert all(phrase in said for phrase in ARGUMENTS[words]), said


# ------------------------------------------------------------------------------- disks, folders, and our own defects


FULL = {  # the verb: how large a file may grow, and the one that does not fit
    "audit": (500, "audit/pictures.parquet"),
    "mend": (5_000, "audit/pictures.parquet"),
    "repair": (5_000, "last_layer/weights.safetensors"),
}


@pytest.mark.parametrize("verb", FULL)
def test_a_full_disk_loses_nothing_and_the_run_goes_on_later(few, tmp_path, capsys, file_limit, verb):
    out, (room, file) = tmp_path / "out", FULL[verb]
    words = {
        "audit": ["audit", few],
        "mend": ["mend", few, *MODEL, "--budget", 0],
        "repair": ["repair", "small:cnn", few, "--with", "last_layer", "--device", "cpu"],
    }[verb] + ["--out", out]
    ask(capsys, "audit", few, *MODEL[: 2 * (verb == "mend")], "--out", out)  # also leaves the features, which are large
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with file_limit(room):
        said = ask(capsys, *words, code=2)
    assert said["type"] == "StorageFull"
    assert f"{out / file} grows larger" in said["error"]
    assert "what was there before is intact" in said["remedy"]
    assert {path: path.read_bytes() for path in before} == before
    assert not list(out.rglob("*.part"))
    ask(capsys, *words)


@pytest.mark.parametrize("name", ["file", "file/below", "y" * 300])
def test_an_out_that_cannot_be_a_folder(few, tmp_path, capsys, name):
    (tmp_path / "file").write_text("mine")
    said = refused(capsys, "audit", few, "--out", tmp_path / name)
    assert name in said
    assert "Choose another --out" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_run_in_the_same_folder(few, tmp_path, capsys):
    with Run(tmp_path).locked():
        said = refused(capsys, "audit", few, "--out", tmp_path)
    assert "Another run is writing to" in said
    assert "--out" in said
    words = ["repair", "small:cnn", few, "--with", "last_layer", "--device", "cpu", "--out", tmp_path]
    first = ask(capsys, *words)
    assert "another configuration (differs in" in refused(capsys, *words, "--seed", 5)
    assert ask(capsys, *words)["verdict"] == first["verdict"]  # the same one goes on


def test_a_damaged_record_of_a_run(few, tmp_path, capsys):
    words = ["mend", few, *MODEL, "--budget", 0, "--out", tmp_path]
    ask(capsys, *words)
    for content in ("{nope", "[]", "{}", '{"format": 1}'):
        for name in ("report.json", "config.json"):
            (tmp_path / name).write_text(content)
        assert "report.json" in refused(capsys, "report", tmp_path)
        assert str(tmp_path) in refused(capsys, *words)
        assert str(tmp_path) in refused(capsys, "stress", tmp_path, few, "--out", tmp_path / "other")
    (tmp_path / "findings.parquet").write_bytes(b"PAR1")
    assert "report.json" in refused(capsys, "report", tmp_path)


@pytest.mark.parametrize(
    ("error", "code", "phrase"),
    [
        (RuntimeError("unheard of"), 3, "defect of Kintsugi"),
        (MemoryError(), 2, "--batch-size"),
        (OSError(5, "Input/output error", "/mnt/x"), 2, "/mnt/x"),
    ],
)
def test_what_nobody_foresaw_is_one_message_and_a_traceback_with_debug(
    few, tmp_path, capsys, monkeypatch, error, code, phrase
):
    def fail(self, **options):
        raise error

    monkeypatch.setattr(Case, "audit", fail)
    assert phrase in refused(capsys, "audit", few, "--out", tmp_path, code=code)
    with pytest.raises(type(error)):
        main(["audit", str(few), "--out", str(tmp_path), "--debug"])
