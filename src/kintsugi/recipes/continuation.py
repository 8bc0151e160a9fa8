"""Continuation: from a data set that is solved already, step by step to the real one, without an error on the way.

1. Train conventionally. R are the samples the net classifies rightly, W the others.
2. Replace each x of W (label y) by a clone c(x) that the net classifies as y: on this auxiliary data it has no error.
3. Between the two lies the hybrid, for s from 0 to 1 (equation 1; samples of R stay as they are)

       x_s = (1 - s) c(x) + s x.                                                                             (1)

4. Raise s. At each value descend the gradient until no sample of the hybrid is misclassified; where that takes more
   than ``steps`` steps, go back and halve the stride of s. At s = 1 stands the original data.
5. What is never fitted is the residual. Each of its samples is tested for a double label: the same picture elsewhere in
   the data under another label. Such groups also give the error floor (auditor ``conflict_duplicates``).

Deng, "Error-free Training for Artificial Neural Network" (2023), arXiv:2312.16060; Deng and Heath, "Toward Errorless
Training ImageNet-1k" (2025), arXiv:2508.04941: 98.3% training accuracy. No test figures are claimed, and errorless
training says nothing about images never seen. On small data plain descent reaches no error as well, in fewer steps
(the card, measured): this is for what is left over and why.

Batch statistics are frozen and dropout is off from step 2 on, gradients are of the whole data, and every descent starts
with its momentum at rest, so that the answer repeats. Ours: the clone, when none is given, is the nearest rightly
classified sample of the same label (the paper's choice could not be verified); a sample whose class has none starts as
itself; the stride doubles again after a success; and samples that are still wrong where the stride has become too fine
are set aside, so that the others go on to s = 1 (``set_aside=False`` stops there instead, as the paper has it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kintsugi.audit.duplicates.conflict_duplicates import ConflictDuplicates
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.core.randomness import derive, numpy_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.ops.neighbours import nearest
from kintsugi.training import checkpoint
from kintsugi.training.describe import describe
from kintsugi.training.feed import Feed
from kintsugi.training.grouping import known_labels
from kintsugi.training.objective.erm import ERM

CARD = Card(
    name="continuation",
    kind="recipe",
    title="train to no error by continuation; what is never fitted is looked at for double labels",
    paper="Deng and Heath, Toward Errorless Training ImageNet-1k (2025), arXiv:2508.04941",
    card=25,
    uses=("erm", "conflict_duplicates"),
    status="proven",
)

Clone = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass
class Continuation:
    """Gradient descent tunnelling.

    Args:
        clone: ``(image [W, C, H, W], label [W], right [R, C, H, W], right_label [R]) -> [W, C, H, W]``, images that the
            net classifies as ``label``; None takes the nearest sample of the same label, by pixels, among the right.
        stride: first and largest step of s.
        finest: stride below which what is still wrong cannot be reached.
        steps: gradient steps at one value of s before the stride is halved.
        lr: of gradient descent.
        momentum: of gradient descent.
        set_aside: go on without the samples that cannot be reached.
        trained: the model was trained conventionally already: leave out step 1.
        eps: distance up to which two pictures count as one in the test for double labels, see ``conflict_duplicates``.
        batch_size: images that go through the net together; the gradient is of all.

    All images are kept in memory, one byte a value.
    """

    clone: Clone | None = None
    stride: float = 0.1
    finest: float = 0.002
    steps: int = 300
    lr: float = 0.1
    momentum: float = 0.9
    set_aside: bool = True
    trained: bool = False
    eps: float = 0.0
    batch_size: int = 1024

    def __post_init__(self) -> None:
        require(self.clone is None or callable(self.clone), "clone", self.clone, "a function, or None")
        require(0 < self.stride <= 1, "stride", self.stride, "a number above 0, up to 1")
        require(0 < self.finest <= self.stride, "finest", self.finest, f"a number above 0, up to {self.stride}")
        require(self.steps >= 1, "steps", self.steps, "a whole number from 1")
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "a number from 0 to below 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "a whole number from 1")
        ConflictDuplicates(eps=self.eps)  # eps is checked there

    def __call__(self, model: Any, data: ImageSet, fit: Any, rng: int, run: Run) -> Run:
        """Train ``model`` in place.

        Args:
            model: a torch model of the data's classes.
            data: what is learned, every sample with a label.
            fit: :func:`kintsugi.training.fit.fit`, or it with settings bound: the conventional training.
            rng: seed of the conventional training.
            run: keeps the conventional training and every value of s that was reached, so that a killed run goes on;
                ``weights.safetensors`` is the trained model, ``findings.parquet`` the residual and the double labels.
                The last line of its metrics has the errors, the floor and the residual's ids.

        Raises:
            BadArgument: the model cannot be trained, or has other classes.
            BadData: a sample has no label, or a clone is not classified as it should be.
        """
        if not isinstance(model, torch.nn.Module):
            raise BadArgument(f"A {type(model).__name__} cannot be trained.", "Give a torch model, not a black box.")
        known = tuple(getattr(model, "classes", data.classes))
        require(known == data.classes, "model", known, f"one of the classes {data.classes}")
        known_labels(data, CARD.name)
        told: Any = getattr(model, "describe", dict)
        config = {"method": CARD.name, "params": describe(vars(self)), "student": describe(model), "model": told()}
        run.start({**config, "data": describe(data), "rng": rng})
        if run.stored and run.path("weights.safetensors").exists():
            model.load_state_dict(run.load_weights())
            model.eval()
            return run
        if not self.trained:
            fit(model, data, ERM(), rng=derive(rng, "conventional"), run=run.sub("conventional"))
        model.eval()
        tunnel = _Tunnel(self, model, data, run)
        tunnel.dig()
        findings = self._residual(data, tunnel, rng)
        if run.stored:
            run.save_findings(*findings)
            run.save_weights(model.state_dict())
        return run

    def _residual(self, data: ImageSet, tunnel: _Tunnel, rng: int) -> tuple[Findings, Findings]:
        """Findings about the samples that are wrong at s = 1, and about pictures with several labels; logged."""
        doubles = ConflictDuplicates(eps=self.eps)(data, None, numpy_rng(rng, "doubles"))
        group = {name: row for row in doubles for name in row.ids}
        wrong, prob = tunnel.answers()
        rows = [_unfitted(data, int(tunnel.rows[k]), float(prob[k]), group) for k in np.flatnonzero(wrong)]
        double = [row.ids[0] for row in rows if row.evidence["same_picture"]]
        floor = int(doubles.summary.count or 0)
        facts = {"s": tunnel.s, "set_aside": int(tunnel.aside.sum()), "errors": len(rows), "floor": floor}
        tunnel.run.log(stage="residual", steps=tunnel.walked, samples=len(wrong), **facts, double_labels=len(double),
                       residual=sorted(row.ids[0] for row in rows))  # fmt: skip
        notes = (
            f"{len(rows)} of {len(wrong)} training samples are not fitted.",
            f"{len(double)} of them show a picture with another label elsewhere; such make {floor} errors for certain.",
            "Training errors only: they say nothing about images never seen.",
        )
        return Findings.of(rows, CARD.name, {"eps": self.eps}, Summary(0.0, None, None, notes)), doubles


class _Tunnel:
    """The way from s = 0 to s = 1.

    Attributes:
        rows: rows of the samples that can be read; what follows is in their order.
        s: how far it came.
        aside: samples that are no longer asked to be right.
        walked: gradient steps done in this process.
    """

    def __init__(self, how: Continuation, model: torch.nn.Module, data: ImageSet, run: Run) -> None:
        self.how, self.model, self.run = how, model, run
        self.device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
        batches = list(Feed(data, model=model).walk(how.batch_size))
        if not batches:
            raise BadData("No image could be read.", "Check the data.")
        self.rows = torch.cat([batch.index for batch in batches]).numpy()
        self.image = torch.cat([(batch.image * 255).round().to(torch.uint8) for batch in batches])
        self.label = torch.cat([batch.label for batch in batches])
        self.s, self.walked = 0.0, 0
        self.aside = torch.zeros(len(self.rows), dtype=torch.bool)
        self.moving = torch.zeros(0, dtype=torch.int64)  # places of W, and below where they start
        self.start = self.image[:0].float()

    def dig(self) -> None:
        """Raise s to 1, or as near as it goes; the model ends with the fewest errors on the original data."""
        stride = self._begin()
        good = self._weights()
        while self.s < 1:
            ahead = min(1.0, self.s + stride)
            done, wrong, _ = self._descend(ahead)
            if done:
                self.s, good = ahead, self._weights()
                stride = min(2 * stride, self.how.stride)
            else:
                self._put(good)
                stride /= 2
            if stride < self.how.finest:
                if not self.how.set_aside:
                    break
                self.aside |= wrong
                stride = self.how.stride
            self._keep(stride, done)
        if self.s < 1:
            self._put(self._descend(1.0)[2])

    @torch.no_grad()
    def answers(self) -> tuple[Any, Any]:
        """Which original samples are wrong, bool ``[N]``, and the probability of each label."""
        wrong, prob = [], []
        for part in self._parts():
            logits = self.model(self._hybrid(part, 1.0)).float()
            label = self.label[part].to(self.device)
            wrong.append((logits.argmax(1) != label).cpu())
            prob.append(logits.softmax(1).gather(1, label[:, None])[:, 0].cpu())
        return torch.cat(wrong).numpy(), torch.cat(prob).numpy()

    # ---------------------------------------------------------------------------------------- where it starts

    def _begin(self) -> float:
        """Clone what is wrong, or read on where an interrupted run came to; returns the stride."""
        kept = checkpoint.load(self.run.sub("tunnel")) if self.run.stored else None
        if kept is not None:
            parts, facts = kept
            self.model.load_state_dict(parts["weights"])
            self.aside, self.moving, self.start = (parts["way"][name] for name in ("aside", "moving", "start"))
            self.s = float(facts["s"])
            return float(facts["stride"])
        wrong = torch.from_numpy(self.answers()[0])
        right = torch.unique(self.label[~wrong])
        self.moving = torch.nonzero(wrong & torch.isin(self.label, right))[:, 0]
        self.start = self.image[self.moving].float() / 255
        if len(self.moving):
            given = (self.start, self.label[self.moving], self.image[~wrong].float() / 255, self.label[~wrong])
            self.start = (self.how.clone or _nearest_right)(*given).float().cpu()
            self._check(self.start, given[1])
        self.run.log(stage="clone", wrong=int(wrong.sum()), cloned=len(self.moving))
        self._keep(self.how.stride, True)
        return self.how.stride

    @torch.no_grad()
    def _check(self, clone: Tensor, label: Tensor) -> None:
        size = (len(label), *self.image.shape[1:])
        require(tuple(clone.shape) == size, "clone", tuple(clone.shape), f"images of shape {size}")
        said = torch.cat(
            [self.model(part.to(self.device)).argmax(1).cpu() for part in clone.split(self.how.batch_size)]
        )
        if bool((said != label).any()):
            raise BadData(f"{int((said != label).sum())} clones are not classified as their labels:",
                          "let clone return images that the model classifies as label.")  # fmt: skip

    def _keep(self, stride: float, reached: bool) -> None:
        self.run.log(stage="tunnel", s=self.s, stride=stride, set_aside=int(self.aside.sum()), reached=reached)
        if self.run.stored:
            way = {"aside": self.aside, "moving": self.moving, "start": self.start}
            checkpoint.save(self.run.sub("tunnel"), {"weights": self.model.state_dict(), "way": way},
                            {"s": self.s, "stride": stride})  # fmt: skip

    # ------------------------------------------------------------------------------------------------ descent

    def _descend(self, s: float) -> tuple[bool, Tensor, dict[str, Tensor]]:
        """Until no sample of the hybrid that is asked for is wrong, or the steps are spent.

        Returns:
            Whether that was reached; which samples were wrong where the fewest were, and the weights there.
        """
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        require(bool(weights), "model", "no weights that can be trained", "a model with trainable weights")
        optimizer = torch.optim.SGD(weights, lr=self.how.lr, momentum=self.how.momentum)
        asked = int((~self.aside).sum())
        fewest, best = ~self.aside, self._weights()
        with task(f"descend at s={s:.3f}", self.how.steps) as tracker:
            for number in range(self.how.steps + 1):
                last = number == self.how.steps
                with torch.set_grad_enabled(not last):
                    wrong, total = self._pass(s, asked)
                if number == 0 or int(wrong.sum()) < int(fewest.sum()):
                    fewest, best = wrong, self._weights()
                if not bool(wrong.any()):
                    return True, wrong, best
                if last or not np.isfinite(total):
                    break
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                self.walked += 1
                tracker.advance()
        self.model.zero_grad(set_to_none=True)
        return False, fewest, best

    def _pass(self, s: float, asked: int) -> tuple[Tensor, float]:
        """Gradients of the mean cross-entropy over the samples asked for; which of them are wrong, and the loss."""
        wrong, total = torch.zeros(len(self.rows), dtype=torch.bool), 0.0
        for part in self._parts():
            keep = ~self.aside[part]
            if not bool(keep.any()):
                continue
            chosen = part[keep]
            logits = self.model(self._hybrid(chosen, s))
            label = self.label[chosen].to(self.device)
            loss = functional.cross_entropy(logits.float(), label, reduction="sum") / asked
            if torch.is_grad_enabled():
                loss.backward()
            total += float(loss.detach())
            wrong[chosen] = (logits.argmax(1) != label).cpu()
        return wrong, total

    def _parts(self) -> tuple[Tensor, ...]:
        return torch.arange(len(self.rows)).split(self.how.batch_size)

    def _hybrid(self, part: Tensor, s: float) -> Tensor:
        """Equation 1 for the samples at ``part``."""
        image = self.image[part].float() / 255
        if s < 1 and len(self.moving):
            place = torch.searchsorted(self.moving, part).clamp_max(len(self.moving) - 1)
            moves = self.moving[place] == part
            image[moves] = (1 - s) * self.start[place[moves]] + s * image[moves]
        return image.to(self.device)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _put(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)


def _nearest_right(image: Tensor, label: Tensor, right: Tensor, right_label: Tensor) -> Tensor:
    """For each image the nearest, by pixels, of the rightly classified ones with its label."""
    made = torch.empty_like(image)
    for k in torch.unique(label).tolist():
        pool, mine = right[right_label == k], label == k
        found = nearest(pool.flatten(1).numpy(), 1, image[mine].flatten(1).numpy(), metric="l2")[1][:, 0]
        made[mine] = pool[torch.from_numpy(found)]
    return made


def _unfitted(data: ImageSet, row: int, prob: float, group: dict[str, Finding]) -> Finding:
    name, own = data.ids[row], data.classes[int(data.labels[row])]
    twin = group.get(name)
    others = [other for other in twin.ids if other != name][:5] if twin is not None else []
    why = f"{name} ({own}) is not fitted by training to the end"
    why += f": it shows the same picture as {others[0]}, under several labels." if others else "."
    return Finding(
        subject="sample",
        ids=(name,),
        score=1 - prob,
        flagged=True,
        check="unfitted",
        suggestion="review",
        why=why,
        evidence={"label": own, "probability": prob, "same_picture": others},
    )
