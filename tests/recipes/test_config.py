"""ConfiG mends a student that learned a colour instead of a shape; and goes on after a kill to the same bits."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from killing import Worker
from PIL import Image
from sklearn.datasets import load_digits

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN
from kintsugi.recipes.config import ConfiG
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

CLASSES = ("zero", "one")


def coloured(count, minority, seed, part):
    """Handwritten zeros and ones in red or green; ``minority`` of them in the colour of the other class."""
    digits = load_digits(n_class=2)
    rng = numpy_rng(seed, "coloured")
    rows = np.flatnonzero(np.arange(len(digits.target)) % 2 == part)
    rows = rng.choice(rows, count)
    label = digits.target[rows]
    green = label ^ (rng.random(count) < minority)
    image = np.zeros((count, 8, 8, 3), np.uint8)
    ink = np.round(digits.images[rows] * 255 / 16).astype(np.uint8)
    for colour in (0, 1):
        image[green == colour, :, :, colour] = ink[green == colour]
        image[green == colour, :, :, 1 - colour] = ink[green == colour] // 4
    return ImageSet.from_arrays(image, label, CLASSES, colour=green.tolist())


def net(seed, width=8):
    return TorchModel(SmallCNN(2, width=width, rng=torch_rng(seed)), CLASSES)


def settings(steps):
    return Training(steps=steps, batch_size=32, lr=3e-3, device="cpu", checkpoint_every=4)


def worst(model, data):
    pixels = torch.from_numpy(np.stack([data[i].image for i in range(len(data))])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        right = model.eval()(pixels).argmax(1).numpy() == data.labels
    colour = data.column("colour")
    return min(right[(data.labels == k) & (colour == c)].mean() for k in (0, 1) for c in (0, 1))


def generator(steps):
    made = PixelDiffusion(size=8, patch=1, widths=(16, 32), embedding=32, steps=steps, device="cpu")
    return made.fit(coloured(600, 0.1, 1, 0), rng=torch_rng(0))


@pytest.fixture(scope="module")
def quick():
    """Teacher and generator hardly trained: for contracts, not for effects."""
    teacher = net(1)
    fit(teacher, coloured(200, 0.5, 2, 0), ERM(), how=settings(20))
    return {"teacher": teacher, "generator": generator(10)}


SHORT = {"images": 6, "steps": 2, "batch_size": 4}


def mend(quick, data, run, seed=5, model=None, hooks=(), **options):
    model = net(3) if model is None else model
    recipe = ConfiG(**quick, **{**SHORT, **options})
    recipe(model, data, partial(fit, how=settings(6), hooks=hooks), seed, run)
    return model


def test_repeats_and_leaves_its_inputs_alone(quick, tmp_path):
    data = coloured(60, 0.0, 3, 0)
    before = {name: value.clone() for name, value in quick["teacher"].state_dict().items()}
    one, two = (mend(quick, data, Run(where)) for where in (None, tmp_path))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
        assert torch.equal(value.cpu(), Run(tmp_path).load_weights()[name])
    assert all(torch.equal(before[name], value) for name, value in quick["teacher"].state_dict().items())
    assert data.target is None
    other = mend(quick, data, Run(None), seed=6)
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_record_holds_images_sources_and_confidences(quick, tmp_path):
    data = coloured(60, 0.0, 3, 0)
    mend(quick, data, Run(tmp_path), rounds=2, source="invert")
    table = pq.read_table(tmp_path / "generated.parquet").to_pylist()
    assert [row["round"] for row in table] == [1] * 6 + [2] * 6
    assert [row["label"] for row in table] == [0, 1, 0, 1, 0, 1] * 2
    labels = dict(zip(data.ids, data.labels.tolist(), strict=True))
    assert all(labels[row["source"]] == row["label"] for row in table)
    for row in table:
        pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(row["image"]["bytes"])))).permute(2, 0, 1) / 255
        said = quick["teacher"](pixels[None]).softmax(1)[0]
        np.testing.assert_allclose(row["target"], said.detach().numpy(), atol=1e-5)  # labels of the pixels as stored
        assert row["teacher"] == pytest.approx(said[row["label"]].item(), abs=0.02)
        assert max(row["score"]) == pytest.approx(row["score"][row["step"]])
    assert Image.open(io.BytesIO(table[0]["start"]["bytes"])).size == (8, 8)


def test_stage_one_is_left_out_for_a_trained_student_and_restart_goes_back(quick, tmp_path):
    data = coloured(60, 0.0, 3, 0)
    student = net(3)
    mend(quick, data, Run(tmp_path / "a"), model=student, trained=True)
    assert not (tmp_path / "a" / "student-0").exists()
    assert (tmp_path / "a" / "student-1").exists()
    states = {flag: mend(quick, data, Run(None), restart=flag).state_dict() for flag in (True, False)}
    assert any(not torch.equal(value, states[False][name]) for name, value in states[True].items())


def test_only_classes_in_the_data_are_generated(quick):
    data = coloured(60, 0.0, 3, 0).where(label="one")
    run = Run(None)
    mend(quick, data, run)
    assert run.metrics()[-1]["images"] == 6


@pytest.mark.parametrize(
    "bad",
    [
        {"form": "mean"},
        {"gamma": -1.0},
        {"images": 0},
        {"share": 1.0},
        {"rounds": 0},
        {"steps": -1},
        {"lr_latent": -0.1},
        {"source": "noise"},
        {"temperature": 0.0},
        {"last": 0},
        {"generator": object()},
        {"teacher": 3},
    ],
)
def test_bad_settings_are_refused(quick, bad):
    with pytest.raises(BadArgument, match=next(iter(bad))):
        ConfiG(**{**quick, **bad})


def test_other_classes_and_unlabelled_data_are_refused(quick):
    data = coloured(20, 0.0, 3, 0)
    with pytest.raises(BadArgument, match="classes"):
        mend(quick, ImageSet.from_arrays(data.source.image, data.labels, ("a", "b")), Run(None))
    with pytest.raises(BadData, match="label"):
        mend(quick, data.relabel(np.full(20, -1)), Run(None))
    with pytest.raises(BadArgument, match="black box"):
        ConfiG(**quick)(object(), data, fit, 0, Run(None))


@pytest.mark.slow
def test_mends_what_distillation_and_unguided_images_do_not():
    # Images of the student's missing groups are 2% of the generator's: unguided samples hold one or none.
    made = PixelDiffusion(size=8, patch=1, widths=(16, 32), embedding=32, steps=400, device="cpu")
    made.fit(coloured(600, 0.02, 1, 0), rng=torch_rng(0))
    teacher = net(1, width=16)
    fit(teacher, coloured(1000, 0.5, 2, 0), ERM(), how=settings(300))
    test, data, found = coloured(400, 0.5, 9, 1), coloured(400, 0.0, 3, 0), {}
    assert worst(teacher, test) > 0.9
    arms = {"config": {}, "unguided": {"steps": 0}, "teacher": {"form": "teacher"}}
    for name, options in arms.items():
        model, run = net(3), Run(None)
        ConfiG(teacher, made, images=40, **options)(model, data, partial(fit, how=settings(100)), 0, run)
        found[name] = worst(model, test)
        if name == "config":
            facts = run.metrics()[-1]
            assert facts["teacher"] > 0.8
            assert facts["student"] < 0.4
            assert facts["objective"] > facts["objective_at_start"] + 0.3
    student = net(3)
    fit(student, data, ERM(), how=settings(100))
    found["nothing"] = worst(student, test)
    assert found["config"] > max(score for name, score in found.items() if name != "config") + 0.3, found


@pytest.fixture(scope="module")
def mender(quick, tmp_path_factory):
    """Mends in processes of their own, and the folder of a run that nothing interrupted, with the steps it told."""
    folder = tmp_path_factory.mktemp("whole")
    quick["generator"].save(folder / "generator")
    with Worker.of(Path(__file__).parent / "config_killed.py", folder / "generator") as worker:
        yield worker, folder / "run", worker.work(folder / "run")


@pytest.mark.slow
def test_killed_three_times_gives_the_same_bits(mender, tmp_path):
    worker, whole, told = mender
    assert told == ["student"] * 6 + 2 * (["image"] * 6 + ["student"] * 6)
    worker.killed_three_times(tmp_path, len(told), lost=4)
    stages = sorted(path.relative_to(whole) for path in whole.rglob("weights.safetensors"))
    assert [path.parent.name for path in stages] == ["student-0", "student-1", "student-2", ""]
    guided = sorted(path.relative_to(whole) for path in whole.rglob("guided-0*.safetensors"))
    assert len(guided) == 4
    for name in (*stages, *guided):
        assert (whole / name).read_bytes() == (tmp_path / name).read_bytes(), name
    one, two = (pq.read_table(folder / "generated.parquet") for folder in (whole, tmp_path))
    assert one.equals(two)
