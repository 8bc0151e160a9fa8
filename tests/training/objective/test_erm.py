"""ERM and soft targets against the formulas in NumPy."""

import numpy as np
import pytest
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.training.objective.erm import ERM
from kintsugi.training.objective.soft_targets import SoftTargets


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    logits, label, weight = rng.normal(size=(7, 4)), rng.integers(0, 4, 7), rng.random(7)
    target = rng.dirichlet(np.ones(4), 7)
    batch = Batch(torch.zeros(7, 3, 2, 2), torch.tensor(label), torch.arange(7))
    return batch, logits, label, torch.tensor(weight), torch.tensor(target)


def test_erm_is_the_formula(case):
    batch, logits, label, weight, target = case
    model = lambda image: torch.tensor(logits)  # noqa: E731
    said, hot = log_softmax(logits), np.eye(4)[label]
    assert float(ERM()(model, batch).total) == pytest.approx(-(hot * said).sum(1).mean())
    smooth = 0.8 * hot + 0.2 / 4
    assert float(ERM(0.2)(model, batch).total) == pytest.approx(-(smooth * said).sum(1).mean())
    weighted = batch.replace(weight=weight)
    assert float(ERM()(model, weighted).total) == pytest.approx(-((hot * said).sum(1) * weight.numpy()).mean())
    soft = batch.replace(target=target)
    assert float(ERM()(model, soft).total) == pytest.approx(-(target.numpy() * said).sum(1).mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_targets_are_those_of_the_softened_teacher(case, temperature):
    batch, logits, _, weight, _ = case
    teacher = np.random.default_rng(1).normal(size=logits.shape)
    stored = torch.tensor(np.exp(log_softmax(teacher)))
    expected = -(np.exp(log_softmax(teacher / temperature)) * log_softmax(logits / temperature)).sum(1) * temperature**2
    found = SoftTargets(temperature)(lambda image: torch.tensor(logits), batch.replace(target=stored, weight=weight))
    assert float(found.total) == pytest.approx((expected * weight.numpy()).mean())


def test_what_is_missing_is_named():
    data = ImageSet.from_arrays(np.zeros((3, 4, 4), np.uint8), [0, -1, 1], ("a", "b"))
    with pytest.raises(BadData, match="1 have none, first '000001'"):
        ERM().setup(data)
    with pytest.raises(BadData, match="soft labels"):
        SoftTargets().setup(data)
    ERM().setup(data.with_targets(np.full((3, 2), 0.5)))
