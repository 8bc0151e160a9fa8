"""A run folder has one writer, one configuration, and weights without code."""

import subprocess
import sys
import time

import pytest
import torch

from kintsugi.core.errors import BadData, RunBusy
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.run import Run


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    with Run(tmp_path).locked(), pytest.raises(RunBusy, match="Another run"), Run(tmp_path).locked():
        pass
    with Run(tmp_path).locked():
        pass


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = (
        "import time; from kintsugi.core.run import Run\n"
        f"with Run({str(tmp_path)!r}).locked():\n print(1, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    with pytest.raises(RunBusy), Run(tmp_path).locked():
        pass
    child.kill()
    child.wait()
    time.sleep(0.05)
    with Run(tmp_path).locked():
        pass


def test_the_same_configuration_resumes_and_another_is_refused(tmp_path):
    run = Run(tmp_path)
    assert run.start({"lr": 0.1, "classes": ("a", "b")}) is False
    assert run.start({"lr": 0.1, "classes": ["a", "b"]}) is True
    with pytest.raises(BadData, match=r"another configuration \(differs in lr\)"):
        run.start({"lr": 0.2, "classes": ["a", "b"]})
    assert run.config["lr"] == 0.1


def test_weights_and_findings_come_back(tmp_path):
    run = Run(tmp_path)
    state = {"w": torch.arange(6.0).reshape(2, 3)[:, ::2], "b": torch.ones(1, dtype=torch.int64)}
    run.save_weights(state)
    assert all(torch.equal(state[k], v) for k, v in run.load_weights().items())
    found = Findings.of([Finding("sample", ("x",), 0.5, True, "c", "drop", "why", {"n": 1})], "card")
    run.save_findings(found)
    import pyarrow.parquet as pq

    row = pq.read_table(run.path("findings.parquet")).to_pylist()[0]
    assert row["key"] == found.rows[0].key
    assert row["evidence"] == '{"n": 1}'
    with pytest.raises(BadData, match=r"nothing\.safetensors"):
        run.load_weights("nothing.safetensors")


def test_metrics_are_logged_in_order(tmp_path):
    run = Run(tmp_path)
    for step in range(3):
        run.log(step=step, loss=1 / (step + 1))
    assert [line["step"] for line in run.metrics()] == [0, 1, 2]
