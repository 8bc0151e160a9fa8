"""Each rule of the triage alone, on answers made by hand; records and the slice every model must pass."""

import numpy as np
import pytest
import torch

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.data.label_sets import LabelSets
from kintsugi.data.masks import pack_masks
from kintsugi.discover.slices.mistake_triage import MistakeTriage
from kintsugi.discover.slices.triage_records import (
    TriageRecord,
    read_records,
    regression_slice,
    valid_answers,
    write_records,
)


def rng():
    return np.random.default_rng(0)


def triage(data, outputs, **options):
    found = MistakeTriage(**options)(data, outputs, rng())
    return {row.ids[0]: row.check for row in found}, found


def clusters(extra, labels, answers):
    """Twenty images of each of three classes around their centres, answered rightly, and others."""
    centre = np.array([[0.0, 0], [10, 0], [0, 10]])
    x = np.concatenate([np.repeat(centre, 20, axis=0) + rng().normal(0, 1, (60, 2)), extra])
    label = np.concatenate([np.repeat([0, 1, 2], 20), labels])
    said = np.concatenate([np.repeat([0, 1, 2], 20), answers])
    data = ImageSet.from_arrays(np.zeros((len(x), 2, 2), np.uint8), label, ["oak", "elm", "cat"])
    return data, Outputs(data.ids, np.eye(3)[said] * 0.7 + 0.1, x, held_out=True)


def test_a_wrong_label_lies_among_the_answered_class_and_an_odd_image_nowhere():
    data, outputs = clusters(np.array([[10.0, 0], [50, 50], [0, 0.1]]), [0, 0, 0], [1, 1, 1])
    checks, found = triage(data, outputs)
    assert [checks[name] for name in data.ids[60:]] == ["valid_answer", "non_prototypical", "unsorted"]
    assert [row.ids[0] for row in found.flagged] == [data.ids[62]]
    assert sum("cannot be told" in note for note in found.summary.notes) == 3


def test_relatives_are_fine_grained_and_out_of_vocabulary_far_from_all():
    data, outputs = clusters(np.array([[9.5, 0], [50, 50], [5, 5]]), [0, 0, 0], [1, 1, 2])
    tree = {"oak": "tree", "elm": "tree", "cat": "beast", "tree": "life", "beast": "life"}
    checks, _ = triage(data, outputs, hierarchy=tree)
    assert [checks[name] for name in data.ids[60:62]] == ["fine_grained", "fine_grained_oov"]
    assert checks[data.ids[62]] == "non_prototypical"
    assert triage(data, outputs, hierarchy=tree, levels=2)[0][data.ids[62]].startswith("fine_grained")


def test_answers_in_the_label_set_are_no_mistakes_and_problematic_images_are_left_out():
    data, outputs = clusters(np.zeros((4, 2)), [0, 0, 0, 0], [1, 1, 1, 1])
    sets = [[k] for k in data.labels[:60]] + [[0, 1], {0: "correct", 1: "unclear"}, {-1: "problematic"}, {1: "wrong"}]
    checks, found = triage(data.with_column("label_sets", LabelSets.of(sets).to_column()), outputs)
    assert set(checks) == {data.ids[63]}
    assert any(note.startswith("2 answers") for note in found.summary.notes)


class Quarters(torch.nn.Module):
    """Class of the brightest level in the image: 200 is the first class, 100 the second, else the third."""

    classes = ("oak", "elm", "cat")
    bounds = (0.0, 1.0)

    def forward(self, image):
        first = (image * 255 > 150).flatten(1).any(1)
        second = ((image * 255 > 50) & (image * 255 < 150)).flatten(1).any(1)
        third = ~first & ~second
        return 8.0 * torch.stack([first, second & ~first, third], 1).float()


def scenes():
    image = np.zeros((2, 8, 8), np.uint8)
    mask = np.zeros((2, 8, 8), bool)
    image[0, :3, :3], image[0, 5:, 5:] = 100, 200  # both in corners
    mask[0, :3, :3] = mask[0, 5:, 5:] = True
    image[1, :3, :3], image[1, 5:, 5:] = 30, 200  # a thing labelled as the second class, and a cue beside it
    mask[1, :3, :3] = True
    data = ImageSet.from_arrays(image, [1, 1], Quarters.classes)
    return data, mask, Outputs(data.ids, np.eye(3)[[0, 0]] * 0.7 + 0.1)


def test_parts_show_several_objects_and_a_cue_beside_the_object():
    data, mask, outputs = scenes()
    checks, _ = triage(data.with_column("mask", pack_masks(mask)), outputs, model=Quarters())
    assert [checks[name] for name in data.ids] == ["several_objects", "spurious"]
    checks, found = triage(data, outputs, model=Quarters())
    assert [checks[name] for name in data.ids] == ["several_objects", "unsorted"]
    assert any("masks" in note for note in found.summary.notes)


def test_outputs_of_other_classes_are_refused():
    data, _, _ = scenes()
    with pytest.raises(BadData, match="outputs"):
        triage(data, Outputs(data.ids, np.full((2, 2), 0.5)))


def record(name, model, reviewer, severity="major", **more):
    return TriageRecord(name, model, "cat", reviewer, category="spurious", severity=severity, **more)


def test_the_slice_is_of_major_mistakes_of_several_models():
    records = [
        *(record("a", m, r) for m in ("one", "two") for r in "xy"),
        *(record("b", "one", r) for r in "xy"),
        record("c", "one", "x"),
        record("c", "one", "y", "borderline"),
        record("c", "two", "x"),
        record("d", "one", "x", "minor"),
        record("d", "two", "x", "minor"),
    ]
    assert regression_slice(records) == ("a",)
    assert regression_slice(records, models=1) == ("a", "b", "c")


def test_valid_answers_need_most_reviewers():
    records = [
        TriageRecord("a", "one", "cat", "x", valid=True),
        TriageRecord("a", "two", "cat", "y", valid=True),
        TriageRecord("b", "one", "cat", "x", valid=True),
        record("b", "one", "y"),
    ]
    assert valid_answers(records) == {"a": ("cat",)}


def test_records_are_read_as_written_and_bad_ones_refused(tmp_path):
    records = (record("a", "one", "x"), TriageRecord("b", "one", "elm", "y", valid=True))
    write_records(tmp_path / "r.json", records)
    assert read_records(tmp_path / "r.json") == records
    (tmp_path / "r.json").write_text('[{"id": "a", "model": "m", "answer": "b", "reviewer": "x"}]')
    with pytest.raises(BadData, match="Record 1"):
        read_records(tmp_path / "r.json")
    with pytest.raises(BadArgument, match="severity"):
        record("a", "one", "x", "awful")
    with pytest.raises(BadArgument, match="category"):
        TriageRecord("a", "m", "b", "x", valid=True, category="spurious")
