"""Distillation as function matching: the student copies what frozen teachers say of the very image it sees itself.

Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov, "Knowledge distillation: A good teacher is patient and consistent", CVPR
2022 (arXiv 2106.05237), section 3; loss of Hinton et al. 2015: T^2 KL(softmax(t/T) || softmax(s/T)), mean over the
batch, no label loss. The four ways to make teacher targets (figure 1 of the paper) are the parameter ``view``. With
``consistent`` and ``function_matching`` teacher and student get the same tensor; independent views cost much of the
gain, and are here to be compared with. Patience is the trainer's: many epochs, no early stop.

Several teachers: the sum of their losses, or one ensemble that is the mean of their probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, one_of, require
from kintsugi.repair.augment.mixup import Mixup
from kintsugi.training.feed import Feed
from kintsugi.training.objective.base import Loss, Objective, weighted_mean

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.core.kinds import Augment, Model
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="distill",
    kind="objective",
    title="copy frozen teachers on the very images the student sees",
    paper="Beyer et al., Knowledge distillation: A good teacher is patient and consistent, CVPR 2022, arXiv 2106.05237",
    card=57,
    code="google-research/big_vision",
    uses=("mixup",),
    status="proven",
)

VIEWS = ("fixed", "independent", "consistent", "function_matching")


class Distill(Objective):
    """T^2 KL from frozen teachers to the student.

    Teachers are put in evaluation mode, and stay so; they get no gradient and are not part of the checkpoint.

    Args:
        teacher: one model, or several; images ``[B, C, H, W]`` in 0..1 to logits ``[B, K]``.
        view: ``fixed``: targets made once, at setup, on the images as they are in the data;
            ``independent``: the teacher sees its own draw of ``augment``;
            ``consistent``: the same view for both;
            ``function_matching``: the same view for both, after mixup (labels play no part).
        augment: view made here, from the batch that the loop gives. None takes that batch, which the loop may have
            augmented; ``independent`` needs one.
        temperature: T, above 0.
        combine: several teachers: ``sum`` of losses, or ``ensemble``, the mean of probabilities.
        alpha: Beta(alpha, alpha) of the mixup in ``function_matching``.
        size: with ``fixed``, (height, width) to decode to at setup: that of :class:`Training`; None takes what the
            first teacher's preprocessing scales to.

    Raises:
        BadArgument: a value is not allowed.
    """

    def __init__(
        self,
        teacher: Model | Sequence[Model],
        *,
        view: str = "consistent",
        augment: Augment | None = None,
        temperature: float = 1.0,
        combine: str = "sum",
        alpha: float = 1.0,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        # A tuple, so that the teachers are no part of this module: neither trained nor in its checkpoint.
        self.teacher: tuple[Any, ...] = tuple(teacher) if isinstance(teacher, Sequence) else (teacher,)
        require(len(self.teacher) > 0 and all(callable(each) for each in self.teacher), "teacher", teacher, "models")
        one_of("view", view, VIEWS)
        one_of("combine", combine, ("sum", "ensemble"))
        require(temperature > 0.0, "temperature", temperature, "a number above 0")
        require(view != "independent" or augment is not None, "augment", augment, "one with view='independent'")
        self.view, self.augment, self.temperature, self.combine = view, augment, temperature, combine
        self.alpha, self.size = alpha, size
        self._mixup = Mixup(alpha, target="keep")
        self._fixed: Tensor | None = None
        for each in self.teacher:
            if isinstance(each, nn.Module):
                each.eval()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distill:
        """Where the objective moves, the teachers move."""
        for each in self.teacher:
            if isinstance(each, nn.Module):
                each._apply(fn, recurse)  # noqa: SLF001 - torch's own way to move
        super()._apply(fn, recurse)
        return self

    def setup(self, data: ImageSet) -> None:
        """With ``fixed``, ask the teachers once about every image.

        Raises:
            BadArgument: a teacher knows another number of classes than the data.
        """
        for method in (self.augment, self._mixup):
            if (setup := getattr(method, "setup", None)) is not None:
                setup(data)
        for each in self.teacher:
            classes = getattr(each, "classes", data.classes)
            if len(classes) != len(data.classes):
                raise BadArgument(
                    f"A teacher knows {len(classes)} classes and the data has {len(data.classes)}.",
                    "Map the teacher to the data's classes.",
                )
        if self.view == "fixed":
            parameter = next(
                (p for each in self.teacher if isinstance(each, nn.Module) for p in each.parameters()), None
            )
            device = parameter.device if parameter is not None else torch.device("cpu")
            made: Tensor | None = None
            for batch in Feed(data, size=self.size, model=self.teacher[0], device=device).walk(256):
                said = self._ask(batch.image)
                if made is None:  # NaN: an image that could not be read has no target, and no batch either
                    made = said.new_full((len(self.teacher), len(data), said.shape[2]), float("nan"))
                made[:, batch.index] = said
            self._fixed = made

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss of the student ``model`` on the view it gets."""
        seen = batch
        if self.augment is not None:
            seen = self.augment(batch, self.rng)
        if self.view == "function_matching":
            seen = self._mixup(seen, self.rng)
        if self.view == "fixed":
            if self._fixed is None:
                raise BadArgument("view='fixed' has no targets yet.", "Call setup(data) first.")
            self._fixed = self._fixed.to(batch.image.device)
            targets = self._fixed[:, batch.index]
        elif self.view == "independent":
            assert self.augment is not None
            targets = self._ask(self.augment(batch, self.rng).image)
        else:
            targets = self._ask(seen.image)
        return Loss(weighted_mean(self._divergence(targets, model(seen.image)), seen))

    @torch.no_grad()
    def _ask(self, image: Tensor) -> Tensor:
        """What each teacher says: logits ``[M, B, K]``."""
        return torch.stack([each(image).float() for each in self.teacher])

    def _divergence(self, targets: Tensor, logits: Tensor) -> Tensor:
        """T^2 KL(teacher || student) of each sample, ``[B]``, for teacher logits ``[M, B, K]``."""
        student = functional.log_softmax(logits.float() / self.temperature, dim=1)
        teacher = functional.log_softmax(targets / self.temperature, dim=2)
        if self.combine == "ensemble":
            teacher = teacher.exp().mean(dim=0, keepdim=True).log()
        loss = functional.kl_div(student.expand_as(teacher), teacher, reduction="none", log_target=True).sum(dim=(0, 2))
        return loss * self.temperature**2
