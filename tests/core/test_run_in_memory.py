"""A run without a folder writes nothing; a stored one forgets what came after a checkpoint."""

import pytest
import torch
from safetensors.torch import load_file

from kintsugi.core.errors import BadArgument
from kintsugi.core.run import Run


def test_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(None)
    assert not run.stored
    with run.locked():
        assert run.start({"a": (1, 2)}) is False
        run.log(step=1, loss=0.5)
        run.log(step=2, loss=0.25)
    assert run.config == {"a": [1, 2]}
    run.trim(1)
    assert run.metrics() == [{"step": 1, "loss": 0.5}]
    assert not run.sub("x").stored
    for call in (lambda: run.dir, lambda: run.path("x"), lambda: run.save_weights({}), run.load_weights):
        with pytest.raises(BadArgument, match="no folder"):
            call()
    assert not list(tmp_path.iterdir())


def test_trim_and_tied_weights(tmp_path):
    run = Run(tmp_path)
    for step in range(4):
        run.log(step=step)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # torn by a crash
    run.trim(3)
    assert [line["step"] for line in run.metrics()] == [0, 1, 2]
    shared = torch.arange(6.0)
    path = run.save_weights({"a": shared, "b": shared, "c": shared[2:4]}, metadata={"k": "v"})
    found = load_file(path)
    assert torch.equal(found["a"], found["b"])
    assert found["c"].tolist() == [2.0, 3.0]
