"""Distillation against the formula, and the four views by what the teacher is shown."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet
from kintsugi.repair.augment.crop_flip import CropFlip
from kintsugi.repair.distill.agreement import agreement, distance
from kintsugi.repair.distill.distill import Distill


class Net(nn.Module):
    """Linear in the pixels; remembers what it was shown."""

    def __init__(self, seed):
        super().__init__()
        self.register_buffer(
            "weight", torch.randn(192, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        )
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return image.double().flatten(1) @ self.weight


@pytest.fixture
def data():
    image = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    return ImageSet.from_arrays(image, [0, 1] * 5, ("a", "b", "c"))


@pytest.fixture
def batch(data):
    rows = torch.tensor([4, 0, 7, 2])
    image = torch.tensor(data.source.image)[rows].permute(0, 3, 1, 2) / 255
    return Batch(image, torch.zeros(4, dtype=torch.int64), rows, weight=torch.tensor([1.0, 2.0, 0.5, 0.0]))


@pytest.mark.parametrize("combine", ["sum", "ensemble"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_the_formula(batch, combine, temperature):
    teachers, student = [Net(1), Net(2)], Net(3)
    found = Distill(teachers, temperature=temperature, combine=combine)(student, batch).total
    said = softmax(student(batch.image).numpy() / temperature, axis=1)
    meant = [softmax(teacher(batch.image).numpy() / temperature, axis=1) for teacher in teachers]
    if combine == "ensemble":
        meant = [np.mean(meant, axis=0)]
    expected = sum(rel_entr(p, said).sum(axis=1) for p in meant) * temperature**2
    assert float(found) == pytest.approx((expected * batch.weight.numpy()).mean(), rel=1e-5)


def test_what_each_view_shows(data, batch):
    crop = CropFlip(3)
    for view in ("consistent", "function_matching", "independent", "fixed"):
        teacher, student = Net(1).train(), Net(2)
        objective = Distill(teacher, view=view, augment=crop)
        objective.setup(data)
        assert not teacher.training
        shown = len(teacher.seen)
        assert shown == (1 if view == "fixed" else 0)
        loss = objective(student, batch)
        mine = student.seen[0]
        assert not torch.equal(mine, batch.image)
        if view == "fixed":
            assert len(teacher.seen) == 1, "asked once, at setup"
            said = log_softmax(student(mine).numpy(), axis=1)
            meant = softmax(teacher(batch.image).numpy(), axis=1)
            expected = (meant * (np.log(meant) - said)).sum(axis=1)
            assert float(loss.total) == pytest.approx((expected * batch.weight.numpy()).mean(), rel=1e-4)
        elif view == "independent":
            assert not torch.equal(teacher.seen[0], mine)
            assert not torch.equal(teacher.seen[0], batch.image)
        else:
            assert teacher.seen[0] is mine, "the same tensor"
        if view == "function_matching":
            whole = Distill(Net(1), view="consistent", augment=crop)
            other = Net(2)
            whole(other, batch)
            assert not torch.equal(mine, other.seen[0]), "mixed as well as cropped"


def test_teachers_are_no_part_of_the_objective(batch):
    teacher, student = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    objective = Distill(teacher)
    assert not list(objective.parameters())
    assert not objective.state_dict()
    objective(student, batch).total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert float(Distill(student)(student, batch).total.detach()) == pytest.approx(0.0, abs=1e-6)


def test_bad_arguments_are_named(data):
    for words in ({"view": "none"}, {"temperature": 0.0}, {"combine": "mean"}, {"view": "independent"}, {"alpha": 0.0}):
        name = "augment" if words == {"view": "independent"} else next(iter(words))
        with pytest.raises(BadArgument, match=name):
            Distill(Net(0), **words)
    with pytest.raises(BadArgument, match="teacher"):
        Distill([])
    few = Net(0)
    few.classes = ("a",)
    with pytest.raises(BadArgument, match="1 classes"):
        Distill(few).setup(data)


def test_monitors_by_hand():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 5)), rng.normal(size=(50, 5))
    s, t = torch.tensor(a), torch.tensor(b)
    p, q = softmax(a, axis=1), softmax(b, axis=1)
    assert float(agreement(s, t)) == (a.argmax(1) == b.argmax(1)).mean()
    top = np.mean([x.argmax() in np.argsort(y)[-3:] for x, y in zip(a, b, strict=True)])
    assert float(agreement(s, t, 3)) == pytest.approx(top)
    expected = {
        "kl": rel_entr(q, p).sum(1),
        "l2": 0.5 * ((p - q) ** 2).sum(1),
        "euclidean": np.sqrt(((p - q) ** 2).sum(1)),
        "hard": -np.log(p[np.arange(50), b.argmax(1)]),
        "logsoftmax_euclidean": np.linalg.norm(np.log(p) - np.log(q), axis=1),
    }
    for kind, value in expected.items():
        np.testing.assert_allclose(distance(s, t, kind), value)
