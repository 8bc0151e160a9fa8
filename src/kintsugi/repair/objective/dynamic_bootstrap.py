"""Trains on a mix of the label and the net's own answer, the more of the latter the more probably the label is wrong.

Arazo, Ortego, Albert, O'Connor and McGuinness, "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019
(arXiv 1904.11238): M-DYR-H, M-DYR-S and MD-DYR-SH. w is the posterior of the higher of two kinds of losses
(:mod:`kintsugi.ops.beta_mixture`). During warm-up images are mixed, lambda ~ Beta(32, 32), and losses are
cross-entropies to both labels. Then, for a mixed pair (p, q) and the net's answer z on each unmixed image, without
gradient and in evaluation mode (section 3.3),

    lambda [(1 - w_p) CE(y_p) + w_p CE(z_p)] + (1 - lambda) [(1 - w_q) CE(y_q) + w_q CE(z_q)]
        + balance * sum_c (1/K) log((1/K) / h_c),

z one-hot (``hard``) or the softmax (``soft``), h the mean softmax over the mixed batch: without it high noise ends in
few classes. ``dynamic`` (MD-DYR-SH, for extreme noise) mixes images by the weights (1 - w_p) / ((1 - w_p) + (1 - w_q)),
counts both losses half, and cools the softmax of z linearly from 1 to 0.001 over the epochs.

Deviations: losses for the mixture are taken from each batch before it is learned, in evaluation mode on unmixed images,
and remembered by row; the mixture is fitted anew when an epoch's worth of samples has been seen. The authors walk over
the data once more after every epoch. Until losses can be told apart every label is believed. Under several processes
each fits its own share. The authors' code fixes K to 10 in the balance term of the soft variant; here it is the data's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.ops.beta_mixture import EDGE, POINTS, BetaMixture1D
from kintsugi.training.grouping import known_labels
from kintsugi.training.hooks import evaluating
from kintsugi.training.objective.base import Loss, Objective

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="dynamic_bootstrap",
    kind="objective",
    title="label and own answer mixed by how probable it is that the label is wrong",
    paper="Arazo et al., Unsupervised Label Noise Modeling and Loss Correction, ICML 2019, arXiv 1904.11238",
    card=78,
    code="https://github.com/PaulAlbert31/LabelNoiseCorrection",
    status="proven",
)

MODES = ("hard", "soft", "dynamic")
COLDEST = 0.001


class DynamicBootstrap(Objective):
    """Cross-entropy to labels and to own answers, weighted by a beta mixture on the losses.

    Args:
        mode: ``hard`` (M-DYR-H), ``soft`` (M-DYR-S) or ``dynamic`` (MD-DYR-SH).
        warmup: epochs of plain mixup before, from 1.
        epochs: of the whole training, from ``warmup``; only ``dynamic`` cools by it.
        alpha: of the Beta distribution lambda is drawn from, above 0.
        balance: weight of the class-balance term, from 0.

    Raises:
        BadArgument: a value is outside its range.
        BadData: at setup, a sample has no label.
    """

    loss_of: Tensor
    seen: Tensor
    table: Tensor
    edges: Tensor

    def __init__(
        self, mode: str = "hard", warmup: int = 105, epochs: int = 300, alpha: float = 32.0, balance: float = 1.0
    ) -> None:
        super().__init__()
        one_of("mode", mode, MODES)
        require(warmup >= 1, "warmup", warmup, "1 or more")
        require(epochs >= 0 and (mode != "dynamic" or epochs > warmup), "epochs", epochs, f"more than warmup={warmup}")
        require(alpha > 0, "alpha", alpha, "a number above 0")
        require(balance >= 0, "balance", balance, "a number from 0")
        self.mode, self.warmup, self.epochs, self.alpha, self.balance = mode, warmup, epochs, alpha, balance

    def setup(self, data: ImageSet) -> None:
        """Make room for a loss of every sample; all labels are believed at first."""
        known_labels(data, "dynamic_bootstrap")
        self.register_buffer("loss_of", torch.full((len(data),), torch.nan))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.full((POINTS,), EDGE))
        self.register_buffer("edges", torch.tensor([0.0, 1.0]))

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss of a batch. Parts: ``wrong``, the mean of w, once warm-up is over."""
        if batch.target is not None and (batch.label < 0).any():
            raise BadData("dynamic_bootstrap needs hard labels.", "Use soft_targets for soft ones.")
        with evaluating(model):
            answer = model(batch.image).float()
        own = functional.cross_entropy(answer, batch.label, reduction="none")
        epoch = int(self.seen) // max(1, len(self.loss_of))
        warm = epoch < self.warmup
        wrong = torch.full_like(own, EDGE) if warm else self._wrong(own)
        if self.training:
            self._remember(batch, own)
        other = torch.randperm(len(batch), generator=self.rng, device=self.rng.device).to(batch.image.device)
        share, counts = self._shares(wrong, other, warm)
        place = share.to(batch.image.dtype).view(-1, 1, 1, 1)
        logits = model(place * batch.image + (1 - place) * batch.image[other]).float()
        log_prob = functional.log_softmax(logits, dim=1)
        truth = functional.one_hot(batch.label, logits.shape[1]).to(log_prob.dtype)
        target = truth if warm else (1 - wrong)[:, None] * truth + wrong[:, None] * self._answers(answer, epoch)
        weight = torch.ones_like(own) if batch.weight is None else batch.weight
        each = -counts * weight * (target * log_prob).sum(1)
        each = each - (1 - counts) * weight[other] * (target[other] * log_prob).sum(1)
        total = each.mean()
        if warm:
            return Loss(total)
        share_of_class = log_prob.exp().mean(dim=0).clamp(min=1e-12)
        balance = -share_of_class.log().mean() - math.log(logits.shape[1])
        return Loss(total + self.balance * balance, {"wrong": wrong.mean()})

    def _shares(self, wrong: Tensor, other: Tensor, warm: bool) -> tuple[Tensor, Tensor]:
        """How much of each image stays in the mixture, and how much its own loss counts, ``[B]`` each."""
        if self.mode == "dynamic" and not warm:
            right = 1 - wrong
            return right / (right + right[other]), torch.full_like(wrong, 0.5)
        shape = torch.full((2,), self.alpha, dtype=torch.float64, device=self.rng.device)
        gamma = torch._standard_gamma(shape, generator=self.rng)  # noqa: SLF001 - the one that takes a generator
        share = (gamma[0] / gamma.sum()).to(wrong).expand_as(wrong)
        return share, share

    def _answers(self, answer: Tensor, epoch: int) -> Tensor:
        """z ``[B, K]``."""
        if self.mode == "hard":
            return functional.one_hot(answer.argmax(dim=1), answer.shape[1]).to(answer.dtype)
        if self.mode == "soft":
            return answer.softmax(dim=1)
        done = min(1.0, (epoch - self.warmup) / max(1, self.epochs - self.warmup))
        return (answer / (1.0 + done * (COLDEST - 1.0))).softmax(dim=1)

    def _wrong(self, loss: Tensor) -> Tensor:
        """w of each loss, ``[B]``, from the table of the last fit."""
        x = ((loss - self.edges[0]) / (self.edges[1] - self.edges[0])).clamp(EDGE, 1 - EDGE)
        return self.table[(x * POINTS).long().clamp(max=POINTS - 1)]

    def _remember(self, batch: Batch, loss: Tensor) -> None:
        """Keep the losses by row; at the end of every epoch fit the mixture to them."""
        self.loss_of[batch.index] = loss.to(self.loss_of.dtype)
        size = max(1, len(self.loss_of))
        before = int(self.seen) // size
        self.seen += len(batch)
        if int(self.seen) // size == before or int(self.seen) // size < self.warmup:
            return
        known = self.loss_of[self.loss_of.isfinite()].double().cpu().numpy()
        try:
            fitted = BetaMixture1D().fit(known)
        except BadData:  # all losses alike: the last table stays, at first that of full belief
            return
        self.table.copy_(torch.from_numpy(fitted.table()))
        self.edges.copy_(torch.tensor([fitted.low, fitted.high]))
