import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.models.open import open_model
from kintsugi.models.predict import predict
from kintsugi.models.predictions import Predictions

PROB = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.25, 0.5, 0.25]])
IDS = ["a.png", "b.png", "ü c.png", "d.png"]


def data(ids=("d.png", "a.png", "ü c.png"), classes=("cat", "dog", "bird")):
    return ImageSet.from_arrays(np.zeros((len(ids), 4, 4), np.uint8), [0] * len(ids), classes, id=ids)


def write(folder, kind, value=PROB, ids=IDS, key="prob"):
    if kind == "npz":
        file = folder / "p.npz"
        np.savez(file, id=np.array(ids), classes=np.array(["cat", "dog", "bird"]), **{key: value})
    elif kind == "csv":
        file = folder / "p.csv"
        rows = [",".join([name, "0", *(repr(float(v)) for v in row)]) for name, row in zip(ids, value, strict=True)]
        file.write_text("\n".join(["filename,label,cat,dog,bird", *rows]), encoding="utf-8")
    elif kind == "csv list":
        file = folder / "p.csv"
        rows = [f'{name},"{json.dumps(row.tolist())}"' for name, row in zip(ids, value, strict=True)]
        file.write_text("\n".join([f"id,{key}", *rows]), encoding="utf-8")
    elif kind == "parquet list":
        file = folder / "p.parquet"
        pq.write_table(pa.table({"id": ids, key: value.tolist()}), file)
    else:
        file = folder / "p.parquet"
        columns = {f"prob_{name}": value[:, k] for k, name in enumerate(("cat", "dog", "bird"))}
        pq.write_table(pa.table({"id": ids, "split": ["x"] * len(ids), "extra": value[:, 0], **columns}), file)
    return file


KINDS = ["npz", "csv", "csv list", "parquet", "parquet list"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_read_and_aligned(tmp_path, kind):
    box = open_model(write(tmp_path, kind), data_classes=("cat", "dog", "bird"))
    outputs = predict(box, data())
    assert outputs.id == ["d.png", "a.png", "ü c.png"]
    assert np.allclose(outputs.prob, PROB[[3, 0, 2]])
    assert outputs.held_out is None
    assert "predictions in p." in outputs.source


def test_logits_are_normalised(tmp_path):
    logits = np.log(PROB) + 3
    for kind in ("npz", "csv list", "parquet list"):
        outputs = Predictions(write(tmp_path, kind, logits, key="logits")).with_classes(data().classes).outputs(data())
        assert np.allclose(outputs.prob, PROB[[3, 0, 2]], atol=1e-6)


def test_classes_are_mapped_dropped_and_renormalised(tmp_path):
    box = open_model(write(tmp_path, "csv"), data_classes=("Bird", "CAT"))
    prob = box.outputs(data(classes=("Bird", "CAT"))).prob
    wanted = PROB[[3, 0, 2]][:, [2, 0]]
    assert np.allclose(prob, wanted / wanted.sum(1, keepdims=True))
    assert any("renormalised" in note for note in box.notes)


def test_numeric_ids_stay_text(tmp_path):
    (tmp_path / "p.csv").write_text("id,x,y\n007,0.5,0.5\n")
    assert Predictions(tmp_path / "p.csv").ids == ["007"]


def test_held_out_and_features_travel(tmp_path):
    np.savez(tmp_path / "p.npz", id=IDS, prob=PROB, held_out=True, features=np.arange(8.0).reshape(4, 2))
    outputs = Predictions(tmp_path / "p.npz", ("cat", "dog", "bird")).outputs(data())
    assert outputs.held_out is True
    assert outputs.features[:, 0].tolist() == [6, 0, 4]
    assert open_model(tmp_path / "p.npz", data_classes=data().classes, held_out=False).held_out is False


def test_awkward_names_of_samples_and_classes(tmp_path):
    names = ["com,ma", 'quo"te', "new\nline", " before", "漢字", "007", "é", "e\u0301", "x" * 300]
    prob = np.eye(len(names)) * 0.5 + 0.5 / len(names)
    with (tmp_path / "p.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", *(f"prob_{name}" for name in names)])
        writer.writerows([name, *row] for name, row in zip(names, prob.tolist(), strict=True))
    np.savez(tmp_path / "p.npz", id=np.array(names), prob=prob, classes=np.array(names))
    for file in ("p.csv", "p.npz"):
        read = Predictions(tmp_path / file)
        assert read.ids == names
        assert read.own_classes == tuple(names)


def test_ids_that_do_not_match_are_counted(tmp_path):
    box = Predictions(write(tmp_path, "csv"))
    with pytest.raises(BadData, match=r"no prediction for 2 of 3 samples \(first 'x/a.png', 'x/b.png'") as error:
        box.outputs(data(("x/a.png", "x/b.png", "d.png")))
    assert "a.png" in str(error.value)
    assert "p.csv" in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_named(tmp_path, kind):
    value = PROB.copy()
    value[1, 1] = np.nan
    with pytest.raises(BadData, match=r"NaN or infinite values for 1 of 4 samples, first 'b.png'"):
        Predictions(write(tmp_path, kind, value))


@pytest.mark.parametrize("kind", KINDS)
def test_unnormalised_rows_are_named(tmp_path, kind):
    value = PROB.copy()
    value[2] *= 1.5
    with pytest.raises(BadData, match=r"not probabilities for 1 of 4 samples, first 'ü c.png' \(sum 1.5") as error:
        Predictions(write(tmp_path, kind, value))
    assert "logits" in error.value.remedy
    with pytest.raises(BadData, match="Divide the percentages by 100"):
        Predictions(write(tmp_path, kind, PROB * 100))


def test_repeated_ids_are_named(tmp_path):
    with pytest.raises(BadData, match=r"1 repeated ids, first 'a\.png'"):
        Predictions(write(tmp_path, "csv", ids=["a.png", "b.png", "a.png", "d.png"]))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", b"", "p.csv"),
        ("p.csv", b"id,cat\nx,much\n", "no column of numbers"),
        ("p.csv", b"cat,dog\n0.1,0.9\n", "no id column"),
        ("p.csv", b"id,cat,dog\n", "p.csv"),
        ("p.parquet", b"PAR1", "p.parquet"),
        ("p.npz", b"no zip", "p.npz"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=said):
        Predictions(tmp_path / name)


def test_wrong_arguments(tmp_path):
    with pytest.raises(BadArgument, match=r"p\.txt"):
        Predictions(tmp_path / "p.txt")
    with pytest.raises(BadData, match="not a file"):
        Predictions(tmp_path / "p.csv")
    np.savez(tmp_path / "p.npz", x=PROB)
    with pytest.raises(BadData, match="needs 'id'"):
        Predictions(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", id=IDS, prob=np.array([{}], dtype=object))
    with pytest.raises(BadData, match=r"p\.npz"):
        Predictions(tmp_path / "p.npz")
    with pytest.raises(BadData, match="class names"):
        Predictions(write(tmp_path, "parquet list"), ("a", "b"))


def test_probability_all_outside_the_data(tmp_path):
    file = write(tmp_path, "npz", np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]))
    with pytest.raises(BadData, match=r"outside the data for 2 samples, first 'd.png'"):
        Predictions(file).with_classes(("cat",)).outputs(data(classes=("cat",)))
