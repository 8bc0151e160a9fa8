"""Group DRO against Algorithm 1 written as a loop over samples, and against its fixed point."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.repair.objective.group_dro import GroupDRO


def data(group):
    return ImageSet.from_arrays(np.zeros((len(group), 2, 2), np.uint8), [0, 1] * (len(group) // 2), group=group)


def test_algorithm_1_by_hand():
    rng = np.random.default_rng(0)
    group = np.array([0] * 6 + [1] * 3 + [2] * 1)
    objective = GroupDRO(eta=0.3, adjustment=2.0)
    objective.setup(data(group))
    q = [1 / 3] * 3
    for members in ([0, 1, 6, 9], [2, 7, 8, 9], [0, 1, 2, 3]):
        logits = torch.tensor(rng.normal(size=(4, 2)), dtype=torch.float32, requires_grad=True)
        label = torch.tensor(rng.integers(0, 2, 4))
        batch = Batch(torch.zeros(4, 3, 2, 2), label, torch.tensor(members), group=torch.tensor(group[members]))
        loss = objective(lambda image, said=logits: said, batch)
        each = functional.cross_entropy(logits.detach(), label, reduction="none").tolist()
        means = {}
        for g in set(group[members].tolist()):
            of = [value for value, row in zip(each, members, strict=True) if group[row] == g]
            means[g] = sum(of) / len(of)
            q[g] *= math.exp(0.3 * (means[g] + 2.0 / math.sqrt((group == g).sum())))
        q = [value / sum(q) for value in q]
        assert objective.q.tolist() == pytest.approx(q, rel=1e-5)
        assert float(loss.total.detach()) == pytest.approx(sum(q[g] * mean for g, mean in means.items()), rel=1e-5)
        loss.total.backward()
        prob = logits.detach().softmax(1) - torch.eye(2)[label]
        for i, row in enumerate(members):
            size = (group[members] == group[row]).sum()
            torch.testing.assert_close(logits.grad[i], q[group[row]] / size * prob[i], rtol=1e-4, atol=1e-6)


def test_it_balances_the_groups_losses():
    """Two groups pull one parameter apart, three samples to one: ERM sides with the three, the worst case does not."""
    group = np.array([0, 0, 0, 1])
    objective = GroupDRO(eta=0.1)
    objective.setup(data(group))
    batch = Batch(torch.zeros(4, 3, 2, 2), torch.tensor([0, 0, 0, 1]), torch.arange(4), group=torch.tensor(group))
    logit = torch.zeros((), requires_grad=True)
    mean = 0.0
    for step in range(600):
        said = torch.stack([-logit, logit]).expand(4, 2)
        objective(lambda image, said=said: said, batch).total.backward()
        with torch.no_grad():
            logit -= 0.2 * logit.grad
            logit.grad.zero_()
            mean += float(logit) / 300 if step >= 300 else 0.0
    assert abs(mean) < 0.05  # ERM: -log(3) / 2
    frozen = objective.q.clone()
    objective.eval()
    objective(lambda image: torch.zeros(4, 2), batch)
    assert torch.equal(objective.q, frozen), "no memory of what is only measured"


def test_groups_are_needed():
    with pytest.raises(BadData, match="group"):
        GroupDRO().setup(data([0, 1]).select([0]).with_column("group", [-1]))
    with pytest.raises(BadData, match="Group 1 has no sample"):
        GroupDRO().setup(data([0, 2]))
