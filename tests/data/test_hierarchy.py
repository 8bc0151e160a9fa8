"""Trees of classes from lines of parent and child."""

import csv
import zipfile

import pytest

from kintsugi.core.errors import BadData
from kintsugi.data.given import given_file
from kintsugi.data.hierarchy import read_hierarchy


def test_ids_are_given_their_names(tmp_path):
    (tmp_path / "h.txt").write_text("n0 n1\nn1 n2\n\nn1 n3\n")
    assert read_hierarchy(tmp_path / "h.txt", {"n2": "oak"}) == {"n1": "n0", "oak": "n1", "n3": "n1"}


@pytest.mark.parametrize(
    ("text", "says"), [("a b c", "no edge"), ("a c\nb c", "two parents"), ("a b\nb a", "above itself")]
)
def test_what_is_no_tree_is_refused(tmp_path, text, says):
    (tmp_path / "h.txt").write_text(text)
    with pytest.raises(BadData, match=says):
        read_hierarchy(tmp_path / "h.txt")


def test_equal_names_are_refused(tmp_path):
    (tmp_path / "h.txt").write_text("a b")
    with pytest.raises(BadData, match="'crane'"):
        read_hierarchy(tmp_path / "h.txt", {"a": "crane", "b": "crane"})


@pytest.mark.data
def test_the_published_tree_holds_890_of_a_thousand_classes(tmp_path):
    with zipfile.ZipFile(given_file("imagenet_hierarchy_and_multilabels.zip")) as packed:
        (tmp_path / "h.txt").write_bytes(packed.read("breeds_hierarchy/class_hierarchy.txt"))
    parent = read_hierarchy(tmp_path / "h.txt")
    with given_file("imagenet_classes.csv").open(encoding="utf-8") as file:
        ids = [row["wnid"] for row in csv.DictReader(file)]
    assert len(set(ids) & set(parent)) == 890
    assert parent["n02099601"] == parent["n02099712"]  # golden and Labrador retrievers
    assert parent["n02099601"] != parent["n02123045"]  # a tabby
