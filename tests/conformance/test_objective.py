"""Every objective keeps the contract of its kind."""

import pytest
import torch
from training_methods import (
    GlobalStateUntouched,
    Net,
    batch,
    build,
    check_bad_parameters_are_named,
    ready,
    same,
    snapshot,
)

from kintsugi.core.registry import of_kind
from kintsugi.training.objective.base import Objective

ENTRIES = of_kind("objective")


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.card.name)
def entry(request):
    return request.param


def seeded(objective):
    objective.rng = torch.Generator().manual_seed(3)
    return objective


def test_there_are_objectives():
    assert {"erm", "soft_targets", "group_dro", "distill"} <= {entry.card.name for entry in ENTRIES}


def test_the_loss_is_a_finite_scalar_with_a_gradient(entry):
    objective, model, given = seeded(ready(entry)), Net(), batch()
    assert isinstance(objective, Objective)
    before = snapshot(given)
    with GlobalStateUntouched():
        loss = objective(model, given)
    assert loss.total.shape == ()
    assert loss.total.isfinite()
    assert not any(part.requires_grad for part in loss.parts.values()), "parts are detached"
    loss.total.backward()
    assert sum(float(parameter.grad.abs().sum()) for parameter in model.parameters() if parameter.grad is not None) > 0
    assert same(before, snapshot(given)), "the batch is untouched"


def test_same_state_and_stream_same_loss(entry):
    found = [float(seeded(ready(entry))(Net(), batch()).total.detach()) for _ in range(2)]
    assert found[0] == found[1]


def test_a_step_goes_downhill(entry):
    """One small step on a batch lowers the loss of that batch (the same draws, memory frozen)."""
    objective, model, given = ready(entry), Net().eval(), batch()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    class Thin:
        def update(self, loss):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    objective.train()
    seeded(objective).step(model, given, Thin())
    objective.eval()
    first = float(seeded(objective)(model, given).total.detach())
    seeded(objective).step(model, given, Thin())
    assert float(seeded(objective)(model, given).total.detach()) < first


def test_memory_survives_a_checkpoint(entry):
    one, given = seeded(ready(entry)), batch()
    one(Net(), given)
    other = ready(entry)
    other.load_state_dict(one.state_dict())
    first, second = (float(seeded(each)(Net(), given).total.detach()) for each in (one, other))
    assert first == second


def test_bad_parameters_are_refused_by_name(entry):
    check_bad_parameters_are_named(entry)
    build(entry)
