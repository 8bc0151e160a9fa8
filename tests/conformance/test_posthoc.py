"""Every post-hoc repair keeps the contract of its kind."""

import numpy as np
import pytest
import torch
from training_methods import (
    GlobalStateUntouched,
    Net,
    batch,
    build,
    check_bad_parameters_are_named,
    data,
    same,
    snapshot,
)

from kintsugi.core.registry import of_kind

ENTRIES = of_kind("posthoc")


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.card.name)
def entry(request):
    return request.param


def test_there_are_posthoc_repairs():
    assert "last_layer" in {entry.card.name for entry in ENTRIES}


def test_a_mended_copy_and_the_given_model_untouched(entry):
    model, made = Net(), data()
    before, table = snapshot(model), made.table
    with GlobalStateUntouched():
        mended = build(entry)(model, made, np.random.default_rng(0))
    assert mended is not model
    assert same(before, snapshot(model))
    assert model.training
    assert made.table.equals(table)
    given = batch()
    with torch.no_grad():
        logits = mended.eval()(given.image)
        assert logits.shape == (len(given), 3)
        assert logits.isfinite().all()
        assert not torch.equal(logits, model.eval()(given.image))


def test_same_stream_same_model(entry):
    one, again = (snapshot(build(entry)(Net(), data(), np.random.default_rng(2))) for _ in range(2))
    assert same(one, again)


def test_bad_parameters_are_refused_by_name(entry):
    assert check_bad_parameters_are_named(entry) > 0
