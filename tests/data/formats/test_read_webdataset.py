"""Tar shards made by other tools, and by attackers."""

import io
import tarfile

import numpy as np
import pytest
from data_pictures import encoded, image, reasons

from kintsugi.core.errors import BadData
from kintsugi.data.formats import open_data


def shard(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def test_shards_that_webdataset_itself_wrote(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "train-%04d.tar"), maxcount=3, verbose=0) as sink:
        for k in range(5):
            sink.write({"__key__": f"dir/sample{k}", "png": image(k), "cls": k % 2, "txt": f"picture {k}"})
    data = open_data(tmp_path)
    assert data.ids == [f"train-{k // 3:04d}/dir/sample{k}" for k in range(5)]
    assert data.labels.tolist() == [0, 1, 0, 1, 0]
    assert data.column("caption").tolist() == [f"picture {k}" for k in range(5)]
    assert data.column("split").tolist() == ["train"] * 5
    assert [data[k].image.tolist() for k in range(5)] == [image(k).tolist() for k in range(5)]
    theirs = [
        row["png"]
        for row in webdataset.WebDataset(sorted(map(str, tmp_path.glob("*.tar"))), shardshuffle=False).decode("rgb8")
    ]
    assert np.array_equal(np.stack(theirs), np.concatenate([images for _, images in data.stream(2)]))


def test_members_that_lead_out_are_refused_and_nothing_is_extracted(tmp_path):
    path = shard(
        tmp_path / "x.tar",
        [
            ("a.png", encoded(image(0))),
            ("../evil.png", encoded(image(1))),
            ("/etc/evil.png", encoded(image(2))),
            ("b/../../evil.png", encoded(image(3))),
            ("link.png", "/etc/passwd"),
            ("c.txt", b"no image here"),
            ("a.json", b'{"label": "cat", "nested": {"x": 1}, "big": 123456789012345678901234567890}'),
            ("dir/a.b.png", encoded(image(4))),
        ],
    )
    data = open_data(path)
    assert data.ids == ["a"]
    assert np.array_equal(data[0].image, image(0))
    assert reasons(data) == {
        f"{path}:../evil.png": "outside",
        f"{path}:/etc/evil.png": "outside",
        f"{path}:b/../../evil.png": "outside",
        f"{path}:link.png": "unreadable",
        f"{path}:c": "no image",
        f"{path}:dir/a": "no image",
        str(path): "one class",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar"]


def test_damaged_shards(tmp_path):
    good = shard(tmp_path / "a.tar", [(f"{k}.png", encoded(image(k))) for k in range(4)])
    whole = good.read_bytes()
    good.write_bytes(whole[: 2 * 1024 + 512 + 20])  # the third image is cut off
    data = open_data(good)
    assert "0" in data.ids
    rows = [rows.tolist() for rows, _ in data.stream(workers=0)]
    assert rows[0][:2] == [0, 1]
    assert "truncated" in reasons(data).values()
    with pytest.raises(BadData, match="gunzip"):
        open_data(shard(tmp_path / "b.tar.gz", [("0.png", encoded(image(0)))], "w:gz"))
    (tmp_path / "c.tar").write_bytes(b"no tar" * 400)
    with pytest.raises(BadData, match=r"c.tar is not a tar file"):
        open_data(tmp_path / "c.tar")
    torn = shard(tmp_path / "d.tar", [("x.png", encoded(image(0))), ("x.json", b"{"), ("y.png", encoded(image(1)))])
    data = open_data(torn)
    assert data.ids == ["x", "y"]  # the images are whole, and kept
    assert reasons(data)[f"{torn}:x.json"] == "corrupt"
    with pytest.raises(BadData, match="holds no images"):
        open_data(shard(tmp_path / "e.tar", [("x.txt", b"words")]))
    facts = b'{"id": "0"}'
    one = encoded(image(0))
    twice = shard(tmp_path / "f.tar", [("0.png", one), ("0.json", facts), ("1.png", one), ("1.json", facts)])
    with pytest.raises(BadData, match="'0' occurs more than once"):
        open_data(twice)


def test_shards_below_split_folders(tmp_path):
    for split, k in (("train", 0), ("test", 1)):
        (tmp_path / split).mkdir()
        shard(tmp_path / split / f"{split}-0.tar", [("a.png", encoded(image(k))), ("a.cls", b"cat")])
    data = open_data(tmp_path)
    assert data.column("split").tolist() == ["test", "train"]
    assert data.ids == ["test-0/a", "train-0/a"]
    assert data.classes == ("cat",)
