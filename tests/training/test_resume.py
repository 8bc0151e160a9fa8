"""A training killed at any point goes on to the very weights and metrics of one that was not."""

from pathlib import Path

import pytest
import torch
from killing import Worker
from safetensors.torch import load_file

STEPS = 28


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
