"""Every discoverer keeps the contract of its kind."""

import inspect

import numpy as np
import pytest
import torch
from collaborators import build

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, KintsugiError
from kintsugi.core.findings import Findings
from kintsugi.core.registry import of_kind, parameters
from kintsugi.data.groups import Groups
from kintsugi.data.imageset import ImageSet

ENTRIES = pytest.mark.parametrize("entry", of_kind("discoverer"), ids=lambda entry: entry.card.name)


@pytest.fixture(scope="module")
def data():
    """Two classes of real digits, each half of them inverted: what hides in them is the polarity."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    rows = np.flatnonzero(raw.target < 2)[:120]
    image = np.rint(raw.images[rows] / 16 * 255).astype(np.uint8)
    hidden = np.arange(120) % 2
    image = np.where(hidden[:, None, None] == 1, 255 - image, image)
    return ImageSet.from_arrays(image, raw.target[rows], ("zero", "one"), hidden=hidden)


def outputs(data):
    """Features that lean on the hidden polarity, as a model's do that learned a shortcut."""
    pixels = data.source.image[data.rows].reshape(len(data), 64) / 255.0
    return Outputs(data.ids, np.tile([0.7, 0.3], (len(data), 1)), pixels, held_out=True)


def discover(entry, data, said=None, seed=0):
    return build(entry)(data, said or outputs(data), np.random.default_rng(seed))


@ENTRIES
def test_groups_lie_inside_classes_or_findings_are_about_this_data(entry, data):
    found = discover(entry, data)
    if isinstance(found, Findings):
        assert found.card == entry.card.name
        assert all(row.why and 0 <= row.score <= 1 for row in found)
        return
    assert isinstance(found, Groups)
    assert found.source == entry.card.name
    assert len(found.index) == len(data)
    assert (found.counts > 0).all()
    assert len(set(found.names)) == len(found.names)
    for group in range(len(found)):
        assert len(set(data.labels[found.members(group)].tolist())) == 1


@ENTRIES
def test_same_seed_same_answer_and_nothing_else_is_touched(entry, data):
    said, table = outputs(data), data.table
    prob, features = said.prob.copy(), said.features.copy()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = discover(entry, data, said), discover(entry, data, outputs(data))
    if isinstance(first, Groups):
        assert first.names == second.names
        np.testing.assert_array_equal(first.index, second.index)
    else:
        assert first.to_arrow().equals(second.to_arrow())
    assert data.table is table
    np.testing.assert_array_equal(said.prob, prob)
    np.testing.assert_array_equal(said.features, features)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


@ENTRIES
def test_a_column_that_names_the_answer_is_not_looked_at(entry, data):
    """Groups are inferred: with the attribute taken away the answer is the same."""
    bare = ImageSet(data.source, data.table.drop_columns(["hidden"]), data.classes)
    with_it, without = discover(entry, data), discover(entry, bare)
    if isinstance(with_it, Groups):
        np.testing.assert_array_equal(with_it.index, without.index)
    else:
        assert with_it.to_arrow().equals(without.to_arrow())


@ENTRIES
@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_hardly_any_data_is_no_crash(entry, data, size):
    assert isinstance(discover(entry, data.select(np.arange(size))), Groups | Findings)


@ENTRIES
def test_unknown_labels_and_equal_features(entry, data):
    unknown = data.relabel(np.where(np.arange(len(data)) % 4, data.labels, -1))
    found = discover(entry, unknown)
    if isinstance(found, Groups):
        assert (found.index[unknown.labels < 0] == -1).all()
    flat = Outputs(data.ids, outputs(data).prob, np.zeros((len(data), 3)))
    assert isinstance(discover(entry, data, flat), Groups | Findings)


@ENTRIES
def test_outputs_of_other_data_are_refused(entry, data):
    other = Outputs([f"x{i}" for i in range(len(data))], outputs(data).prob, outputs(data).features)
    with pytest.raises(KintsugiError, match="outputs"):
        discover(entry, data, other)


@ENTRIES
def test_bad_parameters_are_refused_by_name(entry):
    wrong = {int: -1, float: float("nan"), str: "nonsense"}
    for name, parameter in parameters(entry.load()).items():
        bad = wrong.get(type(parameter.default))
        if bad is None or parameter.default is inspect.Parameter.empty:
            continue
        with pytest.raises(BadArgument, match=name):
            build(entry, **{name: bad})
