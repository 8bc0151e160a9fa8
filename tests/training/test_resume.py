"""A training killed at any point goes on to the very weights and metrics of one that was not."""

import types
from pathlib import Path

import pytest
import torch
from killing import Worker
from safetensors.torch import load_file
from training_nets import SmallNet, two_classes, weights

from kintsugi.core import budget
from kintsugi.core.run import Run
from kintsugi.training.fit import fit
from kintsugi.training.hooks import Hook
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

STEPS = 28
HOW = Training(epochs=2, batch_size=16, lr=0.01, checkpoint_every=2, device="cpu")


@pytest.fixture(scope="module")
def trainer():
    with Worker.of(Path(__file__).parent / "killed.py") as worker:
        yield worker


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, trainer.work(folder)


def test_killed_three_times_gives_the_same_bits(trainer, whole, tmp_path):
    reference, told = whole
    assert told == [str(step) for step in range(1, STEPS + 1)]
    trainer.killed_three_times(tmp_path, STEPS, lost=4)
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        expected, found = load_file(reference / name), load_file(tmp_path / name)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, found[key]), f"{name} {key} differs"
    assert (tmp_path / "metrics.jsonl").read_text() == (reference / "metrics.jsonl").read_text()


def test_a_finished_run_is_not_repeated(trainer, whole):
    folder, _ = whole
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert trainer.work(folder) == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_time_that_runs_out_within_a_step_or_a_hook_ends_training_after_it(tmp_path, monkeypatch):
    """Objectives that attack and hooks that validate ask for the time too; training goes on to the same weights."""
    clock = [0.0]
    monkeypatch.setattr(budget, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    asked = []

    def spend(at):
        asked.append(at)
        clock[0] += at in late
        budget.check()

    class Attacked(ERM):
        def step(self, model, batch, optimizer):
            spend(("step", optimizer.lr))  # another one at each step
            return super().step(model, batch, optimizer)

    class Validated(Hook):
        def on_epoch(self, loop):
            spend(("epoch", loop.epoch))

    def trained(run):
        model = SmallNet(seed=1)
        fit(model, two_classes(40), Attacked(), how=HOW, hooks=[Validated()], rng=3, run=run)
        return model

    late = ()
    whole, steps = trained(None), [*asked]
    for at in steps:
        late, run = (at,), Run(tmp_path / f"{steps.index(at)}")
        asked.clear()
        with pytest.raises(budget.BudgetSpent), budget.within(0.5):
            trained(run)
        late = ()
        torch.testing.assert_close(weights(trained(run)), weights(whole), rtol=0, atol=0)
        assert asked == steps  # nothing twice, and nothing left out
