"""Groups for repairs: by attributes, or inferred on the training part alone, with answers nobody learned by heart."""

import pytest
from patches import case_of, patches, quick
from sklearn.metrics import adjusted_rand_score

from kintsugi.api.case import Case
from kintsugi.api.grouping import by_attributes, inferred
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet


def test_inferred_groups_are_the_hidden_ones(tmp_path):
    case = case_of(patches(), tmp_path)
    found = inferred(case, case.parts.train)
    assert found.data.ids == case.parts.train.ids
    truth = found.data.column("place").astype(str)
    for label in (0, 1):
        rows = found.data.labels == label
        assert adjusted_rand_score(truth[rows], found.groups.index[rows]) > 0.9
    assert found.data.column("group").tolist() == found.groups.index.tolist()
    assert "inferred by george on the training part: 4" in found.note


def test_nothing_but_the_training_part_is_looked_at(tmp_path):
    data = patches()
    case = case_of(data, tmp_path / "a")
    train = case.parts.train
    other = patches(seed=1)
    rest = other.where(other.column("split") != "train")
    swapped = case_of(ImageSet.concat([train, rest]), tmp_path / "b")
    assert swapped.parts.train.ids == train.ids
    assert (inferred(case, train).groups.index == inferred(swapped, swapped.parts.train).groups.index).all()


def test_samples_of_unknown_group_are_left_out_and_said(tmp_path):
    data = patches()
    place = data.column("place").copy()
    place[[0, 5]] = None
    case = case_of(data.with_column("place", place.tolist()), tmp_path, attributes=("place",))
    found = by_attributes(case, case.parts.train)
    assert len(found.data) == len(case.parts.train) - 2
    assert "2 samples of unknown group left out" in found.note
    assert len(case.repair("group_balanced", how=quick(), run=case.run.sub("r")).notes) == 1


def test_repair_infers_groups_when_asked(tmp_path):
    case = case_of(patches(), tmp_path)
    with pytest.raises(BadData, match="group labels"):
        case.repair("group_dro", how=quick(), run=case.run.sub("none"))
    done = case.repair("group_dro", how=quick(), run=case.run.sub("inferred"), infer_groups=True)
    assert "inferred" in done.notes[0]
    assert done.as_dict()["notes"] == list(done.notes)
    black = Case(patches(), None, out=tmp_path)
    with pytest.raises(BadArgument, match="No model"):
        black.repair("group_dro", infer_groups=True)
