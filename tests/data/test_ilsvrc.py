"""Boxes and validation labels in the challenge's formats."""

import pytest

from kintsugi.core.errors import BadData
from kintsugi.data.ilsvrc import read_boxes, validation_labels
from kintsugi.metrics.localization_error import overlap

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def write(path, *objects):
    path.write_text(f"<annotation>{''.join(OBJECT.format(*one) for one in objects)}</annotation>")
    return path


def test_objects_keep_their_file_class_and_box(tmp_path):
    first = write(tmp_path / "a.xml", ("n02", 1, 2, 10, 20), ("n01", 0, 0, 0, 0))
    made = read_boxes(
        [first, write(tmp_path / "b.xml"), write(tmp_path / "c.xml", ("n01", 5, 5, 6, 6))], ["n01", "n02"]
    )
    assert made.image.tolist() == [0, 0, 2]
    assert made.label.tolist() == [1, 0, 0]
    assert made.box[0].tolist() == [1, 2, 10, 20]
    assert overlap(made.box[1:2], made.box[1:2]) == 1.0  # one pixel


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("<annotation>", "no XML"),
        ("<annotation><object><name>n09</name></object></annotation>", "n09"),
        ("<annotation><object><name>n01</name></object></annotation>", "no box"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>", "entities"),
    ],
)
def test_bad_files_are_named(tmp_path, content, says):
    (tmp_path / "x.xml").write_text(content)
    with pytest.raises(BadData, match=says):
        read_boxes([tmp_path / "x.xml"], ["n01"])


def test_numbers_are_translated_by_id(tmp_path):
    (tmp_path / "truth.txt").write_text("2\n1\n3\n")
    order = ["n07", "n01", "n03"]  # the challenge's own
    assert validation_labels(tmp_path / "truth.txt", order, sorted(order)).tolist() == [0, 2, 1]
    (tmp_path / "truth.txt").write_text("4\n")
    with pytest.raises(BadData, match="line 1"):
        validation_labels(tmp_path / "truth.txt", order, sorted(order))
    (tmp_path / "truth.txt").write_text("1\n")
    with pytest.raises(BadData, match="n07"):
        validation_labels(tmp_path / "truth.txt", order, ["n01", "n03"])
