import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.models.classmap import Merged, imagenet_names, match, read_classes, spoken


@pytest.mark.parametrize(
    ("model", "data", "index"),
    [
        (["cat", "dog"], ["dog", "cat"], [1, 0]),
        (["Polar Bear", "great_white-shark"], ["polar_bear", "Great White Shark"], [0, 1]),
        (["tench, Tinca tinca", "goldfish"], ["Tinca Tinca", "goldfish"], [0, 1]),
        (["001.Black_footed_Albatross", "002.Laysan"], ["laysan", "black footed albatross"], [1, 0]),
        (["a", "b", "c"], ["c"], [-1, -1, 0]),
        (["0", "1"], ["cat", "dog"], [0, 1]),
        (["cat", "dog", "bird"], ["2", "0"], [1, -1, 0]),
        (["n01440764", "n01443537"], ["goldfish", "tench"], [1, 0]),
        (["tench", "goldfish"], ["n01440764", "n01443537"], None),
    ],
)
def test_matching(model, data, index):
    if index is None:  # names of a model that is not ImageNet's are compared with the id's words
        index = [0, 1]
    assert match(model, data).index.tolist() == index


def test_imagenet_by_synset_name_and_number():
    names = list(imagenet_names())
    found = match(names, ["n02012849", "n03126707", "tench", "n07930864_cup"])
    assert found.index[134] == 0
    assert found.index[517] == 1
    assert found.index[0] == 2
    assert found.index[968] == 3
    assert (found.index >= 0).sum() == 4
    assert match(names, ["7", "968"]).index[968] == 1


def test_synsets_of_a_library():
    found = match(["x", "y"], ["n00000002", "n00000001"], wnids=["n00000001", "n00000002"])
    assert found.index.tolist() == [1, 0]


def test_notes_say_what_was_assumed():
    assert "renormalised" in match(["a", "b", "c"], ["a", "b"]).notes[0]
    assert "order" in match(["0", "1"], ["a", "b"]).notes[0]
    assert not match(["a", "b"], ["b", "a"]).notes


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (["cat", "dog"], ["cat", "wolf"], "no class for wolf"),
        (["Cat", "cat_", "dog"], ["CAT", "dog"], "several outputs fit CAT"),
        (["cat", "dog"], ["cat", "Cat "], "both mean output 0"),
        (["0", "1", "2"], ["cat", "dog"], "does not name"),
        (["cat", "dog"], ["cat", "dog", "bird"], "3 classes, the model 2"),
    ],
)
def test_what_cannot_be_matched_is_listed(model, data, said):
    with pytest.raises(BadArgument, match=said):
        match(model, data)


def test_mapping():
    found = match(["cat", "dog", "wolf"], ["feline", "canine"], {"feline": 0, "canine": ["dog", "wolf"]})
    assert found.index.tolist() == [0, 1, 1]
    with pytest.raises(BadArgument, match="no output for canine"):
        match(["cat", "dog"], ["feline", "canine"], {"feline": "cat"})
    with pytest.raises(BadArgument, match="output 7"):
        match(["cat", "dog"], ["feline"], {"feline": 7})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-1, 3), min_size=4, max_size=9).filter(lambda index: {0, 1, 2, 3} <= set(index)))
def test_merged_adds_probabilities(index):
    index = np.array(index)
    logits = torch.randn(3, len(index), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = Merged(index, 4)(logits).softmax(1)
    kept = logits.softmax(1)
    sums = torch.stack([kept[:, index == k].sum(1) for k in range(4)], 1)
    assert torch.allclose(made, sums / sums.sum(1, keepdim=True))


def test_merged_needs_every_class():
    with pytest.raises(BadArgument, match="class 1"):
        Merged(np.array([0, -1]), 2)


def test_class_files(tmp_path):
    (tmp_path / "a.txt").write_text("tench, Tinca tinca\ngoldfish\n")
    (tmp_path / "a.csv").write_text("land,crow\nland,wren\nwater,duck\n")
    (tmp_path / "a.json").write_text('{"land": ["crow"], "water": "duck"}')
    (tmp_path / "bad.csv").write_text("land\n")
    assert read_classes(tmp_path / "a.txt") == ["tench, Tinca tinca", "goldfish"]
    assert read_classes(tmp_path / "a.csv") == {"land": ["crow", "wren"], "water": ["duck"]}
    assert read_classes(tmp_path / "a.json") == {"land": ["crow"], "water": ["duck"]}
    with pytest.raises(BadData, match="line 1"):
        read_classes(tmp_path / "bad.csv")
    with pytest.raises(BadData, match=r"no\.txt"):
        read_classes(tmp_path / "no.txt")


def test_spoken():
    assert spoken("n01440764") == "tench"
    assert spoken("polar_bear") == "polar bear"
