"""Every study keeps the contract of its kind: models and data in, a table and a verdict out, nothing touched."""

import inspect

import numpy as np
import pyarrow as pa
import pytest
import torch
from collaborators import SmallModel, build

from kintsugi.core.errors import BadArgument, KintsugiError
from kintsugi.core.registry import of_kind, parameters
from kintsugi.core.verdict import Verdict
from kintsugi.data.imageset import ImageSet

ENTRIES = pytest.mark.parametrize("entry", of_kind("study"), ids=lambda entry: entry.card.name)
CLASSES = ("a", "b", "c")
# Studies that bring their own data, since the truth must be known, and the least of it.
OWN = {
    "label_quality_grid": {"datasets": ("digits",), "seeds": 1, "images": 200, "noises": ("uniform",), "rates": (0.1,)}
}


@pytest.fixture(scope="module")
def data():
    """Sixty noisy squares of three brightnesses, a tenth of them labelled wrongly, with the columns studies ask for."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    image = np.clip(60 + 60 * label[:, None, None, None] + rng.normal(0, 30, (60, 8, 8, 3)), 0, 255).astype(np.uint8)
    given = np.where(rng.random(60) < 0.1, (label + 1) % 3, label)
    made = ImageSet.from_arrays(image, given, CLASSES)
    made = made.with_column("corrected", label).with_column("split", ["train"] * 40 + ["test"] * 20)
    return made.with_column("source", [("real", "made", None)[k // 3 % 3] for k in range(60)])


def models():
    return [SmallModel(CLASSES, seed=seed).eval() for seed in range(3)]


def plain(table):
    """Rows; of a study with several tables, those of its cells."""
    if isinstance(table, dict):
        return table["cells"]
    return table.to_pylist() if isinstance(table, pa.Table) else list(table)


@ENTRIES
def test_a_table_and_a_verdict(entry, data):
    table, verdict = build(entry, **OWN.get(entry.card.name, {})).run(models(), data, 0)
    assert isinstance(verdict, Verdict)
    assert verdict.rule
    assert plain(table)
    assert all(isinstance(row, dict) for row in plain(table))


@ENTRIES
def test_same_seed_same_answer_and_nothing_else_is_touched(entry, data):
    given, before = models(), data.table
    weights = [value.clone() for model in given for value in model.state_dict().values()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    small = OWN.get(entry.card.name, {})
    first, second = build(entry, **small).run(given, data, 3), build(entry, **small).run(given, data, 3)
    assert plain(first[0]) == plain(second[0])
    assert first[1] == second[1]
    assert data.table is before
    kept = [value for model in given for value in model.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(weights, kept, strict=True))
    assert not any(model.training for model in given)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


@ENTRIES
@pytest.mark.parametrize("size", [0, 1, 2])
def test_hardly_any_data_is_one_clear_answer(entry, data, size):
    if entry.card.name in OWN:
        pytest.skip("it brings its own data")
    try:
        _, verdict = build(entry).run(models(), data.select(np.arange(size)), 0)
    except KintsugiError:
        return
    assert verdict.word == "not proven"


@ENTRIES
def test_bad_parameters_are_refused_by_name(entry):
    wrong = {int: -1, float: float("nan"), str: ""}
    for name, parameter in parameters(entry.load()).items():
        bad = wrong.get(type(parameter.default))
        if bad is not None and parameter.default is not inspect.Parameter.empty:
            with pytest.raises(BadArgument, match=name):
                build(entry, **{name: bad})
