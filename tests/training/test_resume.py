"""A training killed at any point goes on to the very weights and metrics of one that was not."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def trainer():
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(HERE / "killed.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()


def train(trainer, folder, kill_at=None):
    """Train in a process of its own, killed when it has said that step ``kill_at`` is done; the steps it said."""
    trainer.stdin.write(f"{folder}\n")
    trainer.stdin.flush()
    pid, steps = None, []
    for line in trainer.stdout:
        match line.split():
            case ["pid", number]:
                pid = int(number)
            case ["exit", code]:
                assert int(code) == (0 if kill_at is None else -signal.SIGKILL)
                return steps
            case [step]:
                steps.append(int(step))
        if kill_at is not None and pid and steps and steps[-1] >= kill_at:
            os.kill(pid, signal.SIGKILL)
            pid = None
    raise AssertionError("the trainer ended")


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(trainer, folder)


def test_killed_three_times_gives_the_same_bits(trainer, whole, tmp_path):
    reference, steps = whole
    assert steps == list(range(1, 29))
    points = sorted(random.Random().sample(range(2, 26), 3))  # any points must do
    for point in points:
        train(trainer, tmp_path, point)
    said = train(trainer, tmp_path)
    assert points[-1] < 5 or said[0] > 1, f"nothing was resumed, killed at {points}"
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        expected, found = load_file(reference / name), load_file(tmp_path / name)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, found[key]), f"{name} {key} differs, killed at {points}"
    assert (tmp_path / "metrics.jsonl").read_text() == (reference / "metrics.jsonl").read_text(), f"killed at {points}"


def test_a_finished_run_is_not_repeated(trainer, whole):
    folder, _ = whole
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train(trainer, folder) == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
