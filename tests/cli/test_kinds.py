"""Every verb on what people have: photographs of many sizes, a table, arrays; and models of which little is known."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from kintsugi.cli.main import main
from kintsugi.data.formats import open_data

QUICK = ["--epochs", "1", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Class folders of crops of many sizes, one file broken."""
    root = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for name, file in (("flower", "flower.jpg"), ("temple", "china.jpg")):
        (root / name).mkdir()
        image = load_sample_image(file)
        for number in range(20):
            high, wide = rng.integers(40, 72, 2)
            top, left = rng.integers(image.shape[0] - high), rng.integers(image.shape[1] - wide)
            Image.fromarray(image[top : top + high, left : left + wide]).save(root / name / f"{number:02d}.jpg")
    (root / "temple/broken.jpg").write_bytes((root / "temple/00.jpg").read_bytes()[:300])
    return root


def said(capsys, *words, code=0):
    assert main([*map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_photographs_of_many_sizes(mixed, tmp_path, capsys):
    common = ["--size", "32x32", "--out", tmp_path, *QUICK]
    assert said(capsys, "audit", mixed, "--model", "small:cnn", "--size", "32x32", "--out", tmp_path, "--quiet")
    assert (
        "--size"
        in said(capsys, "repair", "small:cnn", mixed, "--with", "erm", "--out", tmp_path / "no", *QUICK, code=2)[
            "remedy"
        ]
    )
    for method in ("last_layer", "mixup", "group_balanced"):
        done = said(capsys, "repair", "small:cnn", mixed, "--with", method, "--infer-groups", *common)
        assert done["verdict"]["word"] in ("better", "worse", "not proven")
        if method != "mixup":
            assert "inferred by george" in done["notes"][0]
    tried = {each["name"]: each for each in said(capsys, "mend", mixed, "--model", "small:cnn", *common)["tried"]}
    assert all(tried[name]["score"] for name in ("last_layer", "group_balanced", "group_dro"))


def test_a_model_that_states_its_size_needs_none(mixed, tmp_path, capsys):
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    net = timm.create_model("resnet18", num_classes=2)
    save_file(net.state_dict(), tmp_path / "mine.safetensors")
    done = said(
        capsys, "repair", "timm:resnet18", mixed, "--weights", tmp_path / "mine.safetensors", "--with", "last_layer",
        "--out", tmp_path / "o", "--quiet", "--draws", 2, "--strength", 0.1,
    )  # fmt: skip
    assert done["verdict"]["groups"]


def test_a_table_and_arrays(mixed, tmp_path, capsys):
    files = sorted(path.relative_to(mixed) for path in mixed.glob("*/[0-9]*.jpg"))
    with (tmp_path / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "kind", "light"])
        writer.writerows([path, path.parent.name, ("day", "night")[k % 2]] for k, path in enumerate(files))
    columns = [
        "--path",
        "file",
        "--root",
        mixed,
        "--label",
        "kind",
        "--attribute",
        "light",
        "--size",
        "32x32",
        "--out",
        tmp_path / "t",
    ]
    done = said(capsys, "mend", tmp_path / "table.csv", "--model", "small:cnn", *columns, *QUICK, "--rung", "group_dro")
    assert "groups by label and light: 4" in done["tried"][1]["note"]
    image = np.stack([np.asarray(Image.open(mixed / path).resize((32, 32))) for path in files])
    np.savez(tmp_path / "a.npz", x=image, y=[int(path.parent.name == "temple") for path in files])
    found = said(capsys, "discover", "small:cnn", tmp_path / "a.npz", "--out", tmp_path / "n", "--quiet")
    assert sum(found["groups"].values()) == 8


def test_what_a_black_box_cannot_do_is_said_in_a_line(mixed, tmp_path, capsys):
    data = open_data(mixed)
    prob = np.full((len(data), 2), 0.5)
    np.savez(tmp_path / "p.npz", id=np.array(data.ids), prob=prob)
    box, out = tmp_path / "p.npz", ["--out", tmp_path / "o", "--quiet"]
    assert said(capsys, "audit", mixed, "--model", box, *out)["checks"]
    for verb, reason in (("stress", "changed image"), ("discover", "features"), ("repair", "cannot be repaired")):
        more = ["--with", "erm"] if verb == "repair" else []
        error = said(capsys, verb, box, mixed, *more, *out, code=2)
        assert reason in error["error"]
        assert "file of predictions" in error["error"]
        assert "audit and compare" in error["remedy"]
    assert "cannot be repaired" in said(capsys, "mend", mixed, "--model", box, *out, code=2)["error"]
    assert "No model" in said(capsys, "mend", mixed, *out, code=2)["error"]
    np.savez(
        tmp_path / "f.npz",
        id=np.array(data.ids),
        prob=prob,
        features=np.random.default_rng(0).normal(size=(len(data), 4)),
    )
    assert said(capsys, "discover", tmp_path / "f.npz", mixed, *out)["groups"]


def test_an_exported_graph_is_stressed_without_attacks(mixed, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    torch.onnx.export(net, torch.zeros(1, 3, 32, 32), tmp_path / "net.onnx", dynamo=False)
    out = ["--out", tmp_path / "o", "--quiet", "--classes", "flower,temple", "--size", "32x32"]
    found = said(capsys, "stress", tmp_path / "net.onnx", mixed, *out)
    assert {row["kind"] for row in found["rows"]} == {"clean", "corruption", "bias"}
    assert "not attacked (fgsm, pgd)" in found["notes"][0]


def test_comparing_writes_only_where_told(mixed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sides = ["compare", "small:cnn", "small:lenet5", mixed, "--size", "32x32", "--quiet"]
    assert said(capsys, *sides)["groups"]
    assert said(capsys, *sides, "--dry-run")["images"] == 8
    assert not list(tmp_path.iterdir())
    said(capsys, *sides, "--out", "here")
    assert (tmp_path / "here/compare/report.html").exists()
    said(capsys, "report", "here/compare", "--out", "there", "--dry-run")
    assert not (tmp_path / "there").exists()
    said(capsys, "report", "here/compare", "--out", "there")
    assert (tmp_path / "there/report.html").exists()


def test_a_dry_demo_says_its_plan(tmp_path, capsys):
    plan = said(capsys, "demo", "--dry-run", "--out", tmp_path / "none")
    assert plan["wrong labels"] == 31
    assert "config" in plan["rungs"]
    assert not (tmp_path / "none").exists()
