"""Tables that name files: Waterbirds' and CelebA's own metadata, and what goes wrong in tables."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import encoded, image, put, reasons

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.formats import open_data


def waterbirds(root):
    """The columns and the layout of waterbird_complete95_forest2water2/metadata.csv."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for k in range(8):
        name = f"00{k}.Some_Bird/Some_Bird_{k:04d}.jpg"
        put(root / name, encoded(image(k), "JPEG", quality=95))
        lines.append(f"{k + 1},{name},{k % 2},{k % 3},{k // 4},/b/bamboo_forest/0000{k}.jpg")
    put(root / "metadata.csv", "\n".join(lines).encode())
    return root


@pytest.mark.parametrize("whole", [True, False])
def test_waterbirds_metadata_as_it_is(tmp_path, whole):
    root = waterbirds(tmp_path)
    data = open_data(root if whole else root / "metadata.csv", label="y", split="split", attributes=["place"])
    assert data.classes == ("0", "1")
    assert data.labels.tolist() == [0, 1] * 4
    assert data.attributes == ("place",)
    assert data.split("train").labels.tolist() == [0, 1, 0]
    assert data.column("split").tolist() == ["train", "val", "test", "train", "val", "test", "train", "val"]
    assert data.ids[3] == "003.Some_Bird/Some_Bird_0003.jpg"
    assert data.groups("label", "place").counts.tolist() == [2, 2, 2, 2]
    assert np.abs(data[5].image.astype(int) - image(5)).mean() < 12
    named = open_data(root, label="y", classes=["landbird", "waterbird"], id="img_id")
    assert named.groups("label").names == ("label=landbird", "label=waterbird")
    assert named.ids == [str(k + 1) for k in range(8)]


def celeba(root, kaggle):
    names = ["5_o_Clock_Shadow", "Blond_Hair", "Male"]
    rows = [(f"00000{k}.jpg", [1 if (k >> bit) & 1 else -1 for bit in range(3)], k % 3) for k in range(1, 7)]
    inner = root / "img_align_celeba" / ("img_align_celeba" if kaggle else ".")
    for k, (name, _, _) in enumerate(rows):
        put(inner / name, encoded(image(k), "JPEG"))
    if kaggle:
        head = ",".join(["image_id", *names])
        text = "\n".join([head, *(",".join([name, *map(str, bits)]) for name, bits, _ in rows)])
        put(root / "list_attr_celeba.csv", text.encode())
        parts = "\n".join(["image_id,partition", *(f"{name},{part}" for name, _, part in rows)])
        put(root / "list_eval_partition.csv", parts.encode())
    else:
        body = "\n".join(name + "  " + " ".join(f"{bit:2d}" for bit in bits) for name, bits, _ in rows)
        put(root / "list_attr_celeba.txt", f"{len(rows)}\n{' '.join(names)} \n{body}\n".encode())
        put(root / "list_eval_partition.txt", "\n".join(f"{name} {part}" for name, _, part in rows).encode())
    return rows


@pytest.mark.parametrize("kaggle", [False, True])
def test_celeba_lists_as_they_are(tmp_path, kaggle):
    rows = celeba(tmp_path, kaggle)
    data = open_data(tmp_path, label="Blond_Hair", attributes=["Male"])
    assert data.classes == ("-1", "1")
    assert data.labels.tolist() == [int(bits[1] == 1) for _, bits, _ in rows]
    assert data.column("Male").tolist() == [bits[2] for _, bits, _ in rows]
    assert data.column("split").tolist() == [("train", "val", "test")[part] for _, _, part in rows]
    assert sum(len(found) for found, _ in data.stream(size=(8, 8))) == 6


def test_celeba_damage_is_named(tmp_path):
    celeba(tmp_path, False)
    path = tmp_path / "list_attr_celeba.txt"
    text = path.read_text()
    path.write_text(text.replace("6\n", "7\n", 1))
    with pytest.raises(BadData, match="announces 7 images but lists 6"):
        open_data(path)
    path.write_text(text + "000007.jpg 1 1\n")
    with pytest.raises(BadData, match="line 9 has 3 words"):
        open_data(path)


def table(root, text, count=4, name="labels.csv"):
    for k in range(count):
        put(root / f"{k}.png", encoded(image(k)))
    return put(root / name, text.encode())


def test_columns_of_every_kind(tmp_path):
    put(tmp_path / "m0.png", encoded(image(0)[..., 0] > 50))
    path = table(
        tmp_path,
        "file;x".replace(";x", "") + ",kind,name,who,seg,words,ann,bob\n"
        "0.png,cat,007,1,m0.png,a cat,cat,dog\n1.png,dog,008,2,,a dog,dog,\n2.png,,009,,,,,cat\n",
    )
    data = open_data(
        path, label="kind", id="name", mask="seg", caption="words", annotators=["ann", "bob"], attributes=["who"]
    )
    assert data.ids == ["007", "008", "009"]
    assert data.labels.tolist() == [0, 1, -1]
    assert data.table.column("annotators").to_pylist() == [[0, 1], [1, -1], [-1, 0]]
    assert data.column("caption").tolist() == ["a cat", "a dog", None]
    assert np.array_equal(data.mask(0), image(0)[..., 0] > 50)
    assert data.mask(1) is None
    assert data.column("who").tolist() == [1, 2, None]
    assert data.groups("who").index.tolist() == [0, 1, -1]


def test_labels_keep_their_form(tmp_path):
    for text, classes, labels in (
        ("3\n0\n1\n0", ("0", "1", "2", "3"), [3, 0, 1, 0]),
        ("01\n10\n2\n01", ("01", "10", "2"), [0, 1, 2, 0]),
        ("-1\n1\n1\n-1", ("-1", "1"), [0, 1, 1, 0]),
        ("-1\n1\n0\n2", ("0", "1", "2"), [-1, 1, 0, 2]),
        ("b\na\nnan\nNA", ("NA", "a", "b"), [2, 1, -1, 0]),
        ("1999999\n2000000\n1999999\n2000000", ("1999999", "2000000"), [0, 1, 0, 1]),
    ):
        rows = "".join(f"{k}.png,{value}\n" for k, value in enumerate(text.split("\n")))
        data = open_data(table(tmp_path, "file_name,label\n" + rows))
        assert (data.classes, data.labels.tolist()) == (classes, labels)


def test_files_that_lead_out_or_are_missing_are_left_out(tmp_path):
    outside = put(tmp_path / "secret.png", encoded(image(9)))
    root = tmp_path / "data"
    path = table(
        root, "path,label\n0.png,a\n../secret.png,a\n" + f"{outside},b\nlink.png,b\ngone.png,a\n,a\n..,a\n1.png,b\n"
    )
    (root / "link.png").symlink_to(outside)
    data = open_data(path)
    assert data.ids == ["0.png", "1.png"]
    found = reasons(data)
    assert found.pop(f"{path} row 6") == "missing"
    assert found == {
        "../secret.png": "outside",
        str(outside): "outside",
        "link.png": "outside",
        "gone.png": "missing",
        "..": "outside",
    }
    with pytest.raises(BadData, match=r"None of the 8 files.*root"):
        open_data(path, root=put(tmp_path / "other" / "x", b"").parent)


def test_what_is_wrong_with_a_table_is_named(tmp_path):
    path = table(tmp_path, "file_name,label\n0.png,a\n1.png,b\n")
    for options, words in (
        ({"label": "species"}, "label='species'.*file_name, label"),
        ({"split": "part"}, "split='part'"),
        ({"attributes": ["place"]}, "'place'"),
        ({"annotators": ["ann"]}, "'ann'"),
        ({"path": "photo"}, "path='photo'"),
    ):
        with pytest.raises(BadArgument, match=words):
            open_data(path, **options)
    with pytest.raises(BadArgument, match="list of names"):
        open_data(path, attributes="place")
    with pytest.raises(BadData, match=r"'b' .* outside"):
        open_data(path, classes=["a"])
    with pytest.raises(BadData, match="outside the 2 classes"):
        open_data(table(tmp_path, "file_name,label\n0.png,0\n1.png,2\n"), classes=["a", "b"])
    with pytest.raises(BadData, match="'x' occurs more than once"):
        open_data(table(tmp_path, "file_name,id,label\n0.png,x,a\n1.png,x,b\n"))
    with pytest.raises(BadArgument, match=r"usual name.*photo, label"):
        open_data(table(tmp_path, "photo,label\n0.png,a\n"))
    with pytest.raises(BadData, match="holds no images"):
        open_data(table(tmp_path, "file_name,label\n"))
    for text in ("file_name,label\n0.png\n", ""):
        with pytest.raises(BadData, match=r"labels.csv cannot be read as a table"):
            open_data(table(tmp_path, text))
    latin = put(tmp_path / "latin.csv", "file_name,label\n0.png,sn\xf6\n".encode("latin-1"))
    with pytest.raises(BadData, match=r"latin.csv cannot be read"):
        open_data(latin)
    with pytest.raises(BadData, match=r"not Parquet|cannot be read"):
        open_data(put(tmp_path / "t.parquet", b"no parquet"))


def test_tables_in_other_forms(tmp_path):
    expected = open_data(table(tmp_path, "\ufefffile_name,label\n0.png,a\n1.png,b\n"))
    tab = table(tmp_path, "file_name\tlabel\n0.png\ta\n1.png\tb\n", name="t.tsv")
    lines = table(
        tmp_path, '{"file_name": "0.png", "label": "a"}\n{"file_name": "1.png", "label": "b"}\n', name="t.jsonl"
    )
    kind = pa.array(["a", "b"]).dictionary_encode()
    pq.write_table(pa.table({"file_name": ["0.png", "1.png"], "label": kind}), tmp_path / "t.parquet")
    for path in (tab, lines, tmp_path / "t.parquet"):
        data = open_data(path)
        assert (data.ids, data.classes, data.labels.tolist()) == (expected.ids, ("a", "b"), [0, 1])
        assert data.fingerprint == expected.fingerprint


def test_reserved_names_of_other_meaning_are_renamed_and_noted(tmp_path):
    data = open_data(table(tmp_path, "file_name,label,y,target,weight\n0.png,1,a,7,3\n1.png,0,b,8,4\n"), label="y")
    assert data.classes == ("a", "b")
    assert data.column("label_column").tolist() == [1, 0]
    assert data.column("target_column").tolist() == [7, 8]
    assert [p.reason for p in data.problems] == ["renamed column"] * 3
    assert data.target is None
