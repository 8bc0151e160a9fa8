"""What guidance climbs: the teacher sure of the class, the student not.

Popp et al., ConfiG (2025), arXiv 2506.02294: t_y^gamma + (1 - f_y)^gamma. Augustin et al., DiG-IN (2023),
arXiv 2311.17833: differences of two classifiers in probability, log-probability or logit margin. All are forms of one
objective, evaluated per image; larger is better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch.nn import functional

from kintsugi.core.errors import one_of, require
from kintsugi.core.kinds import Model


class Confidence(NamedTuple):
    """Probability of the wanted class by each model, float ``[B]`` each."""

    teacher: torch.Tensor
    student: torch.Tensor


class GuidanceObjective(Protocol):
    """What :func:`~kintsugi.generate.guided.guided_optimise` maximises."""

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 and classes int64 ``[B]`` to float ``[B]``, larger is better."""

    def confidence(self, image: torch.Tensor, label: torch.Tensor) -> Confidence:
        """What the two models say, for reports."""

    def models(self) -> tuple[Model, ...]:
        """The models asked; they are held in eval mode and without weight gradients."""


class _Said(NamedTuple):
    """Log-probability of the class and of any other class, and the logit margin, float ``[B]`` each."""

    right: torch.Tensor
    wrong: torch.Tensor
    margin: torch.Tensor


def _said(model: Model, image: torch.Tensor, label: torch.Tensor) -> _Said:
    logits = model(image)
    log_prob = functional.log_softmax(logits, dim=1)
    mine = functional.one_hot(label, logits.shape[1]).bool()
    # 1 - p is summed over the other classes: subtracted from 1 it is all rounding error once p is near 1, which is
    # where an overconfident student starts.
    others = log_prob.masked_fill(mine, -torch.inf)
    margin = logits[mine] - logits.masked_fill(mine, -torch.inf).amax(dim=1)
    return _Said(log_prob[mine], others.logsumexp(dim=1), margin)


Form = Callable[[_Said, _Said, float], torch.Tensor]
FORMS: dict[str, Form] = {
    "product": lambda t, f, gamma: (gamma * (t.right + f.wrong)).exp(),
    "sum": lambda t, f, gamma: (gamma * t.right).exp() + (gamma * f.wrong).exp(),
    "log": lambda t, f, gamma: gamma * (t.right + f.wrong),
    "difference": lambda t, f, _: t.right.exp() - f.right.exp(),
    "log_ratio": lambda t, f, _: t.right - f.right,
    "margin": lambda t, f, _: t.margin - f.margin,
    "teacher": lambda t, _, gamma: (gamma * t.right).exp(),
    "student": lambda _, f, gamma: (gamma * f.wrong).exp(),
}
WITHOUT_GAMMA = ("difference", "log_ratio", "margin")


class ConfidenceGuidance:
    """The confidence-guided objective of a teacher and a student.

    ========== ==================================== =====================================================
    form       maximises                            note
    ========== ==================================== =====================================================
    product    (t_y (1 - f_y))^gamma                both conditions must hold; the default
    sum        t_y^gamma + (1 - f_y)^gamma          ConfiG as published (gamma = 2); one term alone can win
    log        gamma (log t_y + log(1 - f_y))       both must hold; never saturates
    difference t_y - f_y                            DiG-IN's ``conf``; ``sum`` with gamma = 1, less 1
    log_ratio  log t_y - log f_y                    DiG-IN's ``log_conf``
    margin     difference of logit margins          DiG-IN's ``logits``
    teacher    t_y^gamma                            baseline: the teacher alone
    student    (1 - f_y)^gamma                      baseline: the student alone; the teacher misreads these too
    ========== ==================================== =====================================================

    Args:
        teacher: the robust model.
        student: the model to be taught; its classes in the teacher's order.
        gamma: exponent, above 0. Above 1 it removes the student's gradient just where f_y is near 1.
        form: one of the above.

    Raises:
        BadArgument: unknown form, an exponent that form has no use for, or class lists that differ.
    """

    def __init__(self, teacher: Model, student: Model, gamma: float = 1.0, form: str = "product") -> None:
        one_of("form", form, tuple(FORMS))
        require(gamma > 0, "gamma", gamma, "a number above 0")
        require(gamma == 1 or form not in WITHOUT_GAMMA, "gamma", gamma, f"1 with form {form!r}, which has no exponent")
        require(tuple(teacher.classes) == tuple(student.classes), "student", student.classes,
                f"a model of the teacher's classes {teacher.classes}")  # fmt: skip
        self.teacher, self.student, self.gamma, self.form = teacher, student, gamma, form

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The objective of each image, float ``[B]``, larger is better."""
        return FORMS[self.form](_said(self.teacher, image, label), _said(self.student, image, label), self.gamma)

    @torch.no_grad()
    def confidence(self, image: torch.Tensor, label: torch.Tensor) -> Confidence:
        """Probabilities t_y and f_y."""
        return Confidence(*(_said(model, image, label).right.exp() for model in (self.teacher, self.student)))

    def models(self) -> tuple[Model, ...]:
        """Teacher and student."""
        return self.teacher, self.student
