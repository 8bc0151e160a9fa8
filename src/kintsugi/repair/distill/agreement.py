"""How far a student is from its teacher: what patient distillation (card 57, step 9) watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from kintsugi.core.errors import one_of, require

if TYPE_CHECKING:
    from torch import Tensor

DISTANCES = ("kl", "l2", "euclidean", "hard", "logsoftmax_euclidean")


def agreement(student: Tensor, teacher: Tensor, k: int = 1) -> Tensor:
    """Share of samples whose ``k`` highest teacher classes hold the student's highest; logits ``[B, K]``."""
    require(1 <= k <= teacher.shape[1], "k", k, f"a whole number from 1 to {teacher.shape[1]}")
    best = teacher.topk(k, dim=1).indices
    return (best == student.argmax(dim=1, keepdim=True)).any(dim=1).double().mean()


def distance(student: Tensor, teacher: Tensor, kind: str = "kl", temperature: float = 1.0) -> Tensor:
    """Distance of each sample's answers, ``[B]``, from logits ``[B, K]``.

    ``kl``: T^2 KL(teacher || student); ``l2``: half the squared distance of probabilities; ``euclidean``: their
    distance; ``hard``: cross-entropy of the student to the teacher's class; ``logsoftmax_euclidean``: distance of log
    probabilities.
    """
    one_of("kind", kind, DISTANCES)
    require(temperature > 0.0, "temperature", temperature, "a number above 0")
    said = functional.log_softmax(student / temperature, dim=1)
    meant = functional.log_softmax(teacher / temperature, dim=1)
    if kind == "kl":
        return functional.kl_div(said, meant, reduction="none", log_target=True).sum(dim=1) * temperature**2
    if kind == "hard":
        return functional.cross_entropy(student, teacher.argmax(dim=1), reduction="none")
    if kind == "logsoftmax_euclidean":
        return (said - meant).norm(dim=1)
    apart = said.exp() - meant.exp()
    return 0.5 * apart.square().sum(dim=1) if kind == "l2" else apart.norm(dim=1)
