"""The loop against a loop written by hand, and its promises: in place, repeatable, quiet, resumable."""

import copy
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from training_nets import SmallNet, two_classes, weights

from kintsugi.core.errors import BadArgument, BadCheckpoint, BadData, RunBusy
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage
from kintsugi.training.fit import Diverged, fit
from kintsugi.training.hooks import EarlyStop, Hook
from kintsugi.training.objective.base import Loss, Objective
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training


def by_hand(model, data, how, epochs, seed):
    """SGD with momentum and cosine schedule, on the batches that the sampler's stream gives."""
    image = torch.from_numpy(data.source.image).permute(0, 3, 1, 2).float() / 255
    label = torch.tensor(data.labels)
    optimizer = torch.optim.SGD(model.parameters(), how.lr, how.momentum, weight_decay=how.weight_decay)
    batches = -(-len(data) // how.batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    model.train()
    for epoch in range(epochs):
        order = numpy_rng(seed, "sampler", epoch).permutation(len(data))
        for rows in np.array_split(order, batches):
            optimizer.zero_grad()
            functional.cross_entropy(model(image[rows]), label[rows]).backward()
            optimizer.step()
            scheduler.step()


def test_same_as_a_loop_by_hand():
    data = two_classes(50)
    model, other = SmallNet(dropout=0.0), SmallNet(dropout=0.0)
    how = Training(epochs=3, batch_size=16, lr=0.05, optimizer="sgd", weight_decay=1e-3, device="cpu")
    fit(model, data, ERM(), how=how, rng=7)
    by_hand(other, data, how, 3, 7)
    torch.testing.assert_close(weights(model), weights(other), rtol=1e-5, atol=1e-6)
    assert not model.training


def test_accumulation_is_one_large_batch():
    data = two_classes(48)

    class Halves:
        def setup(self, data):
            pass

        def epoch(self, number, batch_size, rng):
            return np.split(np.arange(48), 48 // batch_size)

    ends = []
    for batch_size, accumulate in ((16, 1), (8, 2)):
        model = SmallNet(dropout=0.0)
        model.body[1] = nn.Identity()  # batch norm sees the batches apart
        how = Training(epochs=2, batch_size=batch_size, accumulate=accumulate, lr=0.05, optimizer="sgd", device="cpu")
        fit(model, data, ERM(), how=how, sampler=Halves())
        ends.append(weights(model))
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{"ema": 0.8}, {"ema_power": 3.0}])
def test_the_model_ends_with_the_average_of_its_weights(changes):
    data, seen = two_classes(32), []

    class Watch:
        def on_step(self, loop):
            seen.append([tensor.detach().clone() for tensor in loop.model.parameters()])

    model = SmallNet()
    start = [tensor.detach().clone() for tensor in model.parameters()]
    fit(model, data, ERM(), how=Training(epochs=2, batch_size=8, lr=0.05, device="cpu", **changes), hooks=[Watch()])
    mean = start
    for t, now in enumerate(seen, start=1):
        beta = min(0.8, (1 + t) / (10 + t)) if "ema" in changes else (1 - 1 / t) ** 4.0
        mean = [beta * a + (1 - beta) * b for a, b in zip(mean, now, strict=True)]
    for found, expected in zip(model.parameters(), mean, strict=True):
        torch.testing.assert_close(found.data, expected, rtol=1e-5, atol=1e-6)


def test_same_seed_same_weights_and_the_global_state_is_untouched():
    data = two_classes(40)
    ends = []
    for seed in (0, 0, 1):
        torch.rand(3)  # whatever ran before
        model = SmallNet(dropout=0.5)
        before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
        fit(model, data, ERM(), how=Training(epochs=2, batch_size=8, lr=0.05, device="cpu"), rng=seed)
        assert torch.equal(before, torch.get_rng_state())
        assert (numpy_before == np.random.get_state()[1]).all()
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_run_in_memory_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = fit(SmallNet(), two_classes(32), ERM(), how=Training(steps=6, log_every=2, batch_size=8, device="cpu"))
    assert [line["step"] for line in run.metrics()] == [2, 4, 6]
    assert all(line["loss"] > 0 for line in run.metrics())
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadArgument, match="no folder"):
        run.path("weights.safetensors")


def test_images_from_files_train_as_those_in_memory():
    data = two_classes(30)

    class Slow:  # a source that is not an array, one image of which is broken
        fingerprint = "slow"

        def __len__(self):
            return len(data)

        def read(self, row):
            if row in broken:
                raise BadImage(f"{row}", "truncated")
            return data.source.read(row)

    how = Training(epochs=2, batch_size=8, lr=0.05, device="cpu", workers=0)
    ends = []
    for broken in ((), (3,)):
        for source in (data.source, Slow()):
            model = SmallNet()
            kept = [row for row in range(len(data)) if row not in broken or source is not data.source]
            made = ImageSet(source, data.table, data.classes)
            fit(model, made.select(kept) if not broken else made, ERM(), how=how)
            ends.append(weights(model))
            assert len(made.problems) == (len(broken) if source is not data.source else 0)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    assert not torch.equal(ends[0], ends[3])
    broken = range(30)
    with pytest.raises(BadData, match="could be read"):
        fit(SmallNet(), ImageSet(Slow(), data.table, data.classes), ERM(), how=how)
    broken = [row for row in range(30) if row != 4]  # whole batches are lost
    run = fit(
        SmallNet(),
        ImageSet(Slow(), data.table, data.classes),
        ERM(),
        how=Training(epochs=3, batch_size=2, log_every=1, device="cpu"),
    )
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]


def test_batches_carry_what_the_table_knows():
    seen = []

    class Look(Objective):
        def forward(self, model, batch):
            seen.append(batch)
            return ERM()(model, batch)

    weight = np.linspace(0.5, 1.5, 12)
    data = two_classes(12, weight=weight, group=["b", "a", None] * 4)
    data = data.with_targets(np.tile([0.25, 0.75], (12, 1)))
    fit(SmallNet(), data, Look(), how=Training(steps=1, batch_size=12, device="cpu"))
    batch = seen[0]
    np.testing.assert_allclose(batch.weight, weight[batch.index], rtol=1e-6)
    assert batch.group.tolist() == [[1, 0, -1][row % 3] for row in batch.index]
    assert batch.target.tolist() == [[0.25, 0.75]] * 12
    assert torch.equal(batch.label, torch.tensor(data.labels)[batch.index])
    assert batch.image.dtype == torch.float32
    np.testing.assert_array_equal((batch.image * 255).round().permute(0, 2, 3, 1), data.source.image[batch.index])


def test_grey_images_become_rgb():
    image = np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)
    run = fit(SmallNet(), ImageSet.from_arrays(image, [0, 1] * 3), ERM(), how=Training(steps=2, device="cpu"))
    assert run.metrics()


def test_two_updates_a_batch_and_frozen_weights():
    class Twice(ERM):
        def step(self, model, batch, optimizer):
            super().step(model, batch, optimizer)
            return super().step(model, batch, optimizer)

    model = SmallNet()
    model.body[0].requires_grad_(False)
    frozen, free = model.body[0].weight.clone(), model.linear.weight.detach().clone()
    fit(model, two_classes(16), Twice(), how=Training(steps=2, batch_size=8, device="cpu"))
    assert torch.equal(frozen, model.body[0].weight)
    assert not torch.equal(free, model.linear.weight)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(BadArgument, match="needs a gradient"):
        fit(model, two_classes(16), ERM(), how=Training(steps=1, device="cpu"))


def test_a_loss_that_is_not_finite_is_named_and_the_checkpoint_kept(tmp_path):
    class Break(ERM):
        def forward(self, model, batch):
            self.seen = getattr(self, "seen", 0) + 1
            loss = super().forward(model, batch)
            return Loss(loss.total * float("nan")) if self.seen == 7 else loss

    how = Training(steps=20, batch_size=8, checkpoint_every=4, device="cpu")
    with pytest.raises(Diverged, match=r"step 7.*step 4"):
        fit(SmallNet(), two_classes(32), Break(), how=how, run=Run(tmp_path))
    assert json.loads(facts(tmp_path))["step"] == 4
    with pytest.raises(Diverged, match="step 7"):
        fit(SmallNet(), two_classes(32), Break(), how=how)


def facts(folder):
    from safetensors import safe_open

    with safe_open(str(folder / "checkpoint.safetensors"), "pt") as file:
        return file.metadata()["facts"]


def test_run_folders_are_guarded(tmp_path):
    data, how = two_classes(32), Training(steps=4, batch_size=8, checkpoint_every=2, device="cpu")
    run = Run(tmp_path / "a")
    model = SmallNet()
    fit(model, data, ERM(), how=how, run=run)
    again = SmallNet(seed=5)
    fit(again, data, ERM(), how=how, run=run)
    assert torch.equal(weights(model), weights(again)), "a finished run gives its weights"
    for change in ({"rng": 1}, {"objective": ERM(0.1)}, {"data": data.select(range(30))}, {"model": SmallNet(width=5)}):
        words = {"model": SmallNet(), "data": data, "objective": ERM(), **change}
        with pytest.raises(BadData, match="another configuration"):
            fit(words.pop("model"), words.pop("data"), words.pop("objective"), how=how, run=run, **words)
    with run.locked(), pytest.raises(RunBusy):
        fit(SmallNet(), data, ERM(), how=how, run=run)
    (tmp_path / "a/weights.safetensors").unlink()
    (tmp_path / "a/checkpoint.safetensors").write_bytes(b"broken")
    with pytest.raises(BadCheckpoint, match="damaged"):
        fit(SmallNet(), data, ERM(), how=how, run=run)
    (tmp_path / "a/config.json").unlink()
    with pytest.raises(BadData, match="without the run"):
        fit(SmallNet(), data, ERM(), how=how, run=run)


def test_early_stop_returns_the_best_weights():
    values, kept = iter([0.5, 0.9, 0.8, 0.7, 0.95]), {}

    class Score(Hook):
        def on_epoch(self, loop):
            loop.log(score=next(values))
            kept[loop.epoch] = copy.deepcopy(loop.model.state_dict())

    model = SmallNet()
    run = fit(
        model,
        two_classes(16),
        ERM(),
        how=Training(epochs=9, batch_size=8, device="cpu"),
        hooks=[Score(), EarlyStop("score", 2)],
    )
    assert run.metrics()[-1]["best_score"] == 0.9
    assert len(kept) == 4
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in model.state_dict().items())


def test_validation_counts_by_hand():
    data, valid = two_classes(32), two_classes(10, seed=3, group=[0, 0, 1, 1, 1, 1, 1, 1, 2, 2])
    model = SmallNet()
    line = fit(model, data, ERM(), how=Training(epochs=1, device="cpu"), valid=valid).metrics()[-1]
    with torch.no_grad():
        logits = model(torch.from_numpy(valid.source.image).permute(0, 3, 1, 2) / 255.0)
    hit = (logits.argmax(1).numpy() == valid.labels).astype(float)
    assert line["valid_accuracy"] == pytest.approx(hit.mean())
    assert line["valid_worst"] == pytest.approx(min(hit[:2].mean(), hit[2:8].mean(), hit[8:].mean()))
    assert line["valid_loss"] == pytest.approx(
        float(functional.cross_entropy(logits, torch.tensor(valid.labels))), rel=1e-5
    )


def test_bad_settings_are_refused_by_name():
    for name, value in {
        "epochs": 0, "batch_size": 0, "lr": 0.0, "weight_decay": -1.0, "optimizer": "lion", "momentum": 1.0,
        "schedule": "up", "warmup": -1, "clip": 0.0, "ema": 1.0, "ema_power": 0.0, "precision": "fp8", "accumulate": 0,
        "checkpoint_every": 0, "log_every": 0, "size": (0, 4), "fit": "stretch", "workers": -1,
    }.items():  # fmt: skip
        with pytest.raises(BadArgument, match=name):
            Training(**{name: value})
    with pytest.raises(BadArgument, match="epochs or steps"):
        Training(epochs=1, steps=1)
    with pytest.raises(BadArgument, match="precision"):
        fit(SmallNet(), two_classes(8), ERM(), how=Training(steps=1, precision="fp16", device="cpu"))
    with pytest.raises(BadArgument, match="hooks"):
        fit(SmallNet(), two_classes(8), ERM(), how=Training(steps=1, device="cpu"), hooks=[types.SimpleNamespace()])
    with pytest.raises(BadArgument, match="black box"):
        fit(lambda image: image, two_classes(8), ERM())


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "step"])
def test_learning_rates(schedule):
    how = Training(lr=2.0, warmup=4, schedule=schedule)
    rates = [how.rate(step, 104) for step in range(105)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    middle, end = {"cosine": (1.0, 0.0), "linear": (1.0, 0.0), "constant": (2.0, 2.0), "step": (0.2, 0.02)}[schedule]
    assert rates[54] == pytest.approx(middle)
    assert rates[104] == pytest.approx(end, abs=1e-12)


def test_bf16_on_the_cpu_learns():
    run = fit(
        SmallNet(),
        two_classes(64),
        ERM(),
        how=Training(epochs=6, batch_size=16, lr=0.05, precision="bf16", device="cpu"),
        valid=two_classes(40, seed=9),
    )
    assert run.metrics()[-1]["valid_accuracy"] > 0.9


SCRIPT = """
import os
import sys
import torch
from training_nets import SmallNet, two_classes, weights
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training
torch.set_num_threads(1)
model = SmallNet(dropout=0.0)
model.body[1] = torch.nn.Identity()
run = fit(model, two_classes(48), ERM(), how=Training(epochs=2, batch_size=16, lr=0.05, optimizer="sgd", device="cpu"))
assert ("accelerate" in sys.modules) == (len(sys.argv) > 2), "one process imports no accelerate"
torch.save({"weights": weights(model)}, sys.argv[1] + os.environ.get("RANK", ""))
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    here = str(Path(__file__).parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, tmp_path / "one"], check=True, env=environment)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    launch += [str(script), str(tmp_path / "two"), "several"]
    subprocess.run(launch, check=True, env=environment)
    one, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two0", "two1"))
    assert torch.equal(first["weights"], second["weights"])
    torch.testing.assert_close(first["weights"], one["weights"], rtol=1e-5, atol=1e-6)
