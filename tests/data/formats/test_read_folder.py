"""Folders: class folders, splits, tables beside images, and every odd thing people keep in them."""

import os

import numpy as np
import pytest
from data_pictures import class_folders, encoded, image, put, reasons

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.formats import open_data


def test_class_folders(tmp_path):
    data = open_data(class_folders(tmp_path, ("dog", "cat")))
    assert data.classes == ("cat", "dog")
    assert data.ids == ["cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png"]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(data[3].image, image(0))
    assert data.problems == []
    assert "split" not in data.columns


def test_splits_above_classes(tmp_path):
    class_folders(tmp_path / "train", ("cat", "dog"))
    class_folders(tmp_path / "Validation", ("cat", "emu"), each=1)
    put(tmp_path / "test" / "unknown.png", encoded(image(9)))
    data = open_data(tmp_path)
    assert data.classes == ("cat", "dog", "emu")
    assert data.split("val").ids == ["Validation/cat/0.png", "Validation/emu/0.png"]
    assert len(data.split("train")) == 6
    assert data.split("test").labels.tolist() == [-1]
    with pytest.raises(BadArgument, match="Known: test, train, val"):
        data.split("holdout")


def test_an_empty_class_stays_a_class_and_is_noted(tmp_path):
    (class_folders(tmp_path) / "emu").mkdir()
    data = open_data(tmp_path)
    assert data.classes == ("cat", "dog", "emu")
    assert [(p.reason, p.kept) for p in data.problems] == [("empty class", True)]
    assert "emu" in data.problems[0].detail
    assert data.groups("label").counts.tolist() == [3, 3]


def test_one_class_only_is_noted(tmp_path):
    data = open_data(class_folders(tmp_path, ("cat",)))
    assert [(p.reason, p.kept) for p in data.problems] == [("one class", True)]


def test_images_without_labels(tmp_path):
    for k in range(3):
        put(tmp_path / f"{k}.png", encoded(image(k)))
    data = open_data(tmp_path)
    assert data.labels.tolist() == [-1, -1, -1]
    assert [p.reason for p in data.problems] == ["no labels"]


def test_broken_files_are_left_out_and_the_rest_is_read(tmp_path):
    class_folders(tmp_path)
    put(tmp_path / "cat" / "empty.jpg", b"")
    put(tmp_path / "cat" / "text.png", b"not a picture at all")
    put(
        tmp_path / "dog" / "cut.png",
        encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))[:6000],
    )
    put(tmp_path / "dog" / "wrong.jpg", encoded(image(8)))
    put(tmp_path / "dog" / "notes.txt", b"not looked at")
    put(tmp_path / "dog" / ".DS_Store", b"hidden")
    put(tmp_path / "loose.png", encoded(image(5)))
    data = open_data(tmp_path)
    read = np.concatenate([rows for rows, _ in data.stream(4, size=(8, 8), workers=2)])
    assert len(read) == 7
    assert reasons(data) == {
        "cat/empty.jpg": "empty",
        "cat/text.png": "not an image",
        "dog/cut.png": "truncated",
        "loose.png": "no class",
        str(tmp_path): "other files",
    }
    assert [(note.where, note.reason) for note in data.notes] == [("dog/wrong.jpg", "mislabelled extension")]
    assert data.where(label="cat").notes == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "cat" / "0.png").chmod(0)
    data = open_data(tmp_path)
    list(data.stream(workers=0))
    assert reasons(data) == {"cat/0.png": "unreadable"}


def test_links_that_leave_the_folder_are_refused_one_by_one(tmp_path):
    outside = put(tmp_path / "secret" / "x.png", encoded(image(7)))
    root = class_folders(tmp_path / "data")
    (root / "cat" / "out.png").symlink_to(outside)
    (root / "dog" / "all").symlink_to(tmp_path / "secret", target_is_directory=True)
    (root / "cat" / "gone.png").symlink_to(root / "nothing.png")
    (root / "cat" / "in.png").symlink_to(root / "dog" / "0.png")
    (root / "dog" / "again").symlink_to(root / "dog", target_is_directory=True)
    data = open_data(root)
    assert reasons(data) == {"cat/out.png": "outside", "dog/all": "outside", "cat/gone.png": "missing"}
    assert "cat/in.png" in data.ids
    assert np.array_equal(data[data.ids.index("cat/in.png")].image, image(3))
    linked = tmp_path / "linked"
    linked.symlink_to(root, target_is_directory=True)
    assert open_data(linked).ids == data.ids


def test_unicode_long_and_undecodable_names(tmp_path):
    names = ["snö ☃ 猫", "z" * 250, "sp ace'quote\"", "new\nline", "e\u0301"]
    for name in names:
        put(tmp_path / name / ("x" * 240 + ".png"), encoded(image(1)))
    put(tmp_path / os.fsdecode(b"\xff\xfe") / "a.png", encoded(image(2)))
    data = open_data(tmp_path)
    assert set(names) < set(data.classes)
    assert sum(len(rows) for rows, _ in data.stream(workers=2)) == 6
    assert data.problems == []
    assert data.ids[-1].encode()  # plain text, whatever the name's bytes


def test_classes_may_be_given(tmp_path):
    class_folders(tmp_path)
    data = open_data(tmp_path, classes=["dog", "emu", "cat"])
    assert data.labels.tolist() == [2, 2, 2, 0, 0, 0]
    with pytest.raises(BadData, match=r"'dog' .* outside the 1 classes \(cat\)"):
        open_data(tmp_path, classes=["cat"])
    with pytest.raises(BadArgument, match="each class name once"):
        open_data(tmp_path, classes=["cat", "cat", "dog"])


def test_what_is_no_data(tmp_path):
    with pytest.raises(BadData, match="does not exist"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(BadData, match="holds no images"):
        open_data(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(BadData, match="holds no images"):
        open_data(tmp_path)
    with pytest.raises(BadData, match=r"no known format.*class folders.*hf:NAME"):
        open_data(put(tmp_path / "x.docx", b"word"))
    with pytest.raises(BadArgument, match="label='y' cannot be given"):
        open_data(class_folders(tmp_path / "full"), label="y")
    with pytest.raises(BadArgument, match="format='zip'"):
        open_data(tmp_path, format="zip")
    with pytest.raises(BadArgument, match="type int"):
        open_data(3)


def test_a_change_anywhere_in_a_file_is_other_data(tmp_path):
    path = put(class_folders(tmp_path) / "cat" / "large.bmp", encoded(image(1, 100, 100), "BMP"))
    before = open_data(tmp_path)
    fingerprint, content = before.fingerprint, bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # far from either end, and the length stays
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_data(tmp_path).fingerprint != fingerprint
    assert before.fingerprint == fingerprint  # read once


def test_an_image_that_cannot_be_had_is_part_of_what_the_data_is(tmp_path):
    whole = open_data(class_folders(tmp_path))
    assert whole.fingerprint
    broken = open_data(tmp_path)
    (tmp_path / "cat" / "0.png").unlink()
    assert broken.source.digest(0) == b""
    assert broken.fingerprint != whole.fingerprint


def test_a_copy_elsewhere_is_the_same_data(tmp_path):
    one = open_data(class_folders(tmp_path / "a"))
    two = open_data(class_folders(tmp_path / "b"))
    assert one.fingerprint == two.fingerprint
    put(tmp_path / "b" / "cat" / "0.png", encoded(image(40)))
    assert open_data(tmp_path / "b").fingerprint != one.fingerprint
