"""Every auditor keeps the contract of its kind."""

import copy
import inspect

import numpy as np
import pytest
import torch
from collaborators import build

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, KintsugiError
from kintsugi.core.findings import Findings
from kintsugi.core.registry import of_kind, parameters
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage

ENTRIES = pytest.mark.parametrize("entry", of_kind("auditor"), ids=lambda entry: entry.card.name)


@pytest.fixture(scope="module")
def data():
    made = DigitsOnPhotos().mixed(60, 0.1, "pool", 0)
    return made.with_column("split", ["train"] * 40 + ["test"] * 20)


def outputs(data, seed=0):
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet(np.ones(len(data.classes)), size=len(data))
    return Outputs(data.ids, prob, rng.standard_normal((len(data), 6)), held_out=True)


def audit(entry, data, said=None, seed=0):
    return build(entry)(data, said or outputs(data), np.random.default_rng(seed))


@ENTRIES
def test_findings_are_of_this_method_and_about_this_data(entry, data):
    findings = audit(entry, data)
    assert isinstance(findings, Findings)
    assert findings.card == entry.card.name
    assert set(findings.params) <= set(parameters(entry.load()))
    assert len({row.key for row in findings}) == len(findings)  # a key is what decisions find a finding by
    for row in findings:
        assert row.why
        assert row.suggestion
        assert row.subject in ("group", "class", "dataset") or set(row.ids) <= set(data.ids)
        assert len(row.ids) == 2 or row.subject != "pair"
    assert [row.score for row in findings] == sorted((row.score for row in findings), reverse=True)
    assert findings.to_arrow().num_rows == len(findings)
    if findings.summary.interval is not None:
        low, high = findings.summary.interval
        assert low <= findings.summary.count <= high


@ENTRIES
def test_same_seed_same_answer_and_nothing_else_is_touched(entry, data):
    said = outputs(data)
    table, problems = data.table, list(data.problems)
    prob, features = said.prob.copy(), said.features.copy()
    pixels = data.source.image.copy()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = audit(entry, data, said), audit(entry, data, copy.deepcopy(said))
    assert first.to_arrow().equals(second.to_arrow())
    assert first.summary == second.summary
    assert data.table is table
    assert data.problems == problems
    np.testing.assert_array_equal(said.prob, prob)
    np.testing.assert_array_equal(said.features, features)
    np.testing.assert_array_equal(data.source.image, pixels)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


@ENTRIES
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_hardly_any_data_is_no_crash(entry, data, size):
    some = data.select(np.arange(size))
    assert isinstance(audit(entry, some), Findings)


@ENTRIES
def test_one_class_and_unknown_labels(entry, data):
    for labels in (np.zeros(60, int), np.full(60, -1), np.where(np.arange(60) % 3, data.labels, -1)):
        assert isinstance(audit(entry, data.relabel(labels)), Findings)


@ENTRIES
def test_images_nobody_can_read_stop_nothing(entry, data):
    class Torn:
        fingerprint = "torn"

        def __len__(self):
            return len(data)

        def read(self, row):
            if row % 7 == 0:
                raise BadImage(f"{row}.jpg", "truncated")
            return data.source.read(row)

    torn = ImageSet(Torn(), data.table, data.classes)
    assert isinstance(audit(entry, torn), Findings)


@ENTRIES
def test_bad_parameters_are_refused_by_name(entry):
    wrong = {int: -1, float: float("nan"), str: "nonsense"}
    for name, parameter in parameters(entry.load()).items():
        bad = wrong.get(type(parameter.default))
        if bad is None or parameter.default is inspect.Parameter.empty:
            continue
        with pytest.raises(BadArgument, match=name):
            build(entry, **{name: bad})


@ENTRIES
def test_outputs_of_other_data_are_refused_or_not_looked_at(entry, data):
    said = outputs(data)
    other = Outputs([f"x{i}" for i in range(60)], said.prob, said.features, held_out=True)
    given = audit(entry, data, said)
    without = _or_none(lambda: build(entry)(data, None, np.random.default_rng(0)))
    if without is not None and without.to_arrow().equals(given.to_arrow()):
        assert audit(entry, data, other).to_arrow().equals(given.to_arrow())
    else:
        with pytest.raises(KintsugiError, match="outputs"):
            audit(entry, data, other)


def _or_none(call):
    try:
        return call()
    except KintsugiError:
        return None
