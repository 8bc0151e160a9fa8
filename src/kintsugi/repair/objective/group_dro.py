"""Group DRO: minimise the loss of the worst group, by weights on groups that grow exponentially with their loss.

Sagawa, Koh, Hashimoto, Liang, "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020
(arXiv 1911.08731). Algorithm 1: for the groups g of a batch, q_g <- q_g exp(eta * l_g), normalised, then one descent
step on sum_g q_g l_g. Section 3.3 (equation 5): l_g is raised by C / sqrt(n_g), n_g the group's size in training, so
that small groups, which generalise worse, get more weight. The paper's strong weight decay belongs to the optimizer.

Deviation: as in Algorithm 1, and unlike the authors' code for C > 0, groups that a batch lacks keep their unnormalised
weight. Under several processes group losses are those of the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.training.grouping import known_groups, known_labels
from kintsugi.training.objective.base import Loss, Objective, cross_entropy
from kintsugi.training.processes import summed, world

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="group_dro",
    kind="objective",
    title="loss of the worst group, by exponentiated-gradient group weights",
    paper="Sagawa, Koh, Hashimoto, Liang, Distributionally Robust Neural Networks, ICLR 2020, arXiv 1911.08731",
    card=0,
    code="kohpangwei/group_DRO",
    needs=("group labels",),
    status="proven",
)


class GroupDRO(Objective):
    """Cross-entropy weighted by group; the weights are a buffer, so checkpoints hold them.

    Every batch should hold samples of every group: pair it with the sampler ``group_balanced``, as the authors do.

    Args:
        eta: step size of the group weights, above 0.
        adjustment: C of the generalization adjustment C / sqrt(n_g), from 0; the paper tries 0 to 5.
        smoothing: label smoothing, 0 to below 1.

    Raises:
        BadArgument: a value is outside its range.
        BadData: at setup, samples lack a group or a label, or a group has no sample.
    """

    q: torch.Tensor
    raised: torch.Tensor

    def __init__(self, eta: float = 0.01, adjustment: float = 0.0, smoothing: float = 0.0) -> None:
        super().__init__()
        require(eta > 0.0, "eta", eta, "a number above 0")
        require(adjustment >= 0.0, "adjustment", adjustment, "a number from 0")
        require(0.0 <= smoothing < 1.0, "smoothing", smoothing, "a number from 0 to below 1")
        self.eta, self.adjustment, self.smoothing = eta, adjustment, smoothing

    def setup(self, data: ImageSet) -> None:
        """Count the groups (column ``group``) and start with even weights."""
        index = known_groups(data, "group_dro")
        if data.target is None:
            known_labels(data, "group_dro")
        counts = np.bincount(index)
        if (counts == 0).any():
            raise BadData(f"Group {int(counts.argmin())} has no sample.", "Number the groups without gaps.")
        raised = self.adjustment / np.sqrt(counts)
        self.register_buffer("q", torch.full((len(counts),), 1.0 / len(counts)))
        self.register_buffer("raised", torch.tensor(raised, dtype=torch.float32), persistent=False)

    def forward(self, model: Any, batch: Batch) -> Loss:
        """Robust loss of ``model(batch.image)``; group weights move in training mode only.

        Parts: ``group_weight`` ``[G]`` and ``group_loss`` ``[G]`` (0 where the batch lacks the group).
        """
        if batch.group is None:
            raise BadData("The batch has no groups.", "Add a column 'group' to the data by with_groups(data, ...).")
        loss = cross_entropy(model(batch.image), batch, self.smoothing).float()
        if batch.weight is not None:
            loss = loss * batch.weight
        count = summed(torch.zeros_like(self.q).index_add_(0, batch.group, torch.ones_like(loss)))
        share = torch.zeros_like(self.q).index_add(0, batch.group, loss) / count.clamp(min=1.0)
        mean = summed(share)
        if self.training:
            present = count > 0
            grown = self.q * torch.exp(self.eta * (mean + self.raised))
            q = torch.where(present, grown, self.q)
            self.q.copy_(q / q.sum())
        # Processes average their gradients, and each holds its share of the group means: hence the factor.
        total = (self.q * share).sum() * world()
        return Loss(total, {"group_weight": self.q.clone(), "group_loss": mean})
