"""Guided generation: climb an objective through a generator's whole sampling path, image by image.

Augustin et al., DiG-IN (2023), arXiv 2311.17833, section 3: the start latent and the conditioning of every sampling
step are optimised by Adam with all networks frozen; latents keep their norm; the objective is taken on the last few
predicted clean images behind random cut-outs; the best iterate by the plain objective is kept, the unguided start
included. ConfiG (arXiv 2506.02294) puts its confidence objective on the same machinery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.kinds import DifferentiableGenerator, State
from kintsugi.core.progress import task
from kintsugi.core.randomness import torch_rng
from kintsugi.core.run import Run
from kintsugi.generate.cutouts import Cutouts
from kintsugi.generate.guidance import GuidanceObjective
from kintsugi.models.frozen import frozen
from kintsugi.training.describe import describe

# Gradients of probabilities are tiny where the student is sure; torch's 1e-8 would stop Adam just there.
ADAM_EPS = 1e-14
LR = {"latent": 0.001, "condition": 0.01, "null": 0.01}


@dataclass(frozen=True)
class Guided:
    """Guided images and how they came about, on the CPU.

    Attributes:
        image: float ``[N, C, H, W]`` in 0..1, the kept iterates.
        start: float ``[N, C, H, W]`` in 0..1, the unguided iterate 0.
        label: int64 ``[N]``, the class asked for.
        teacher: float ``[N]``, the teacher's probability of that class on ``image``.
        student: float ``[N]``, the student's.
        step: int64 ``[N]``, the iterate that was kept, 0 for the start.
        score: float ``[N, steps + 1]``, the plain objective of every iterate.
    """

    image: torch.Tensor
    start: torch.Tensor
    label: torch.Tensor
    teacher: torch.Tensor
    student: torch.Tensor
    step: torch.Tensor
    score: torch.Tensor

    def __len__(self) -> int:
        return len(self.image)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def concat(cls, parts: Sequence[Guided]) -> Guided:
        """One after the other."""
        return cls(**{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class _How:
    """The settings of :func:`guided_optimise`, checked."""

    steps: int
    lr: Mapping[str, float]
    cutouts: Cutouts
    last_weights: tuple[float, ...]
    keep: str
    project: bool
    schedule: str | None

    def __post_init__(self) -> None:
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        require(all(rate >= 0 for rate in self.lr.values()), "lr", dict(self.lr), "rates of 0 or more by tensor name")
        require(any(w > 0 for w in self.last_weights) and all(w >= 0 for w in self.last_weights), "last_weights",
                self.last_weights, "one weight of 0 or more for each of the last predictions")  # fmt: skip
        one_of("keep", self.keep, ("best", "last"))
        require(self.schedule in (None, "cosine"), "schedule", self.schedule, "None or 'cosine'")


def guided_optimise(
    generator: DifferentiableGenerator,
    condition: torch.Tensor,
    objective: GuidanceObjective,
    *,
    steps: int = 20,
    lr: Mapping[str, float] | None = None,
    cutouts: Cutouts | None = None,
    last_weights: Sequence[float] = (1 / 6, 2 / 6, 3 / 6),
    keep: str = "best",
    project: bool = True,
    schedule: str | None = None,
    image: torch.Tensor | None = None,
    rng: int = 0,
    batch_size: int = 50,
    run: Run | None = None,
) -> Guided:
    """Generate one image for each condition, climbing ``objective`` from an unguided start.

    Args:
        generator: its networks stay as they are.
        condition: classes int64 ``[N]``.
        objective: what to maximise; its models are held in eval mode.
        steps: optimiser steps; 0 gives unguided images.
        lr: step size by name of the generator's state tensor (``latent``, ``condition``, ``null``); a tensor without
            one, or with 0, stays fixed. By default 0.001 for latents and 0.01 for conditioning.
        cutouts: crops and noise before the classifiers; by default 16 crops.
        last_weights: weights of the last predicted clean images in the loss, last prediction last.
        keep: ``best`` iterate by the plain objective, or the ``last``.
        project: put latents back to their norm after every step.
        schedule: None for a constant step size, ``cosine`` to fall to a tenth of it.
        image: real images ``[N, C, H, W]`` in 0..1 to start from, inverted into latents; None starts from noise.
        rng: seed; batch ``b`` draws from stream ``guide/b``, so that a resumed run repeats it.
        batch_size: images optimised together.
        run: keeps every finished batch; a run killed halfway goes on after the last one.

    Raises:
        BadArgument: a setting is not allowed, or no state tensor would be optimised.
        BadData: the objective is not finite.
    """
    weights = tuple(float(weight) for weight in last_weights)
    how = _How(steps=steps, lr=dict(LR if lr is None else lr), cutouts=cutouts or Cutouts(), last_weights=weights,
               keep=keep, project=project, schedule=schedule)  # fmt: skip
    require(batch_size >= 1, "batch_size", batch_size, "1 or more")
    require(condition.ndim == 1 and len(condition) > 0, "condition", tuple(condition.shape), "classes of shape [N]")
    require(image is None or len(image) == len(condition), "image", None if image is None else tuple(image.shape),
            f"one image for each of the {len(condition)} conditions")  # fmt: skip
    if run is not None:
        run.start(_config(generator, how, condition, image, objective, rng, batch_size))
    parts = []
    with frozen(generator, *objective.models()), task("guided images", len(condition)) as tracker:
        for number, rows in enumerate(torch.arange(len(condition)).split(batch_size)):
            name = f"guided-{number:05d}.safetensors"
            if run is not None and run.path(name).exists():
                part = Guided(**run.load_weights(name))
            else:
                start = None if image is None else image[rows].detach()
                part = _batch(generator, condition[rows], objective, how, start, torch_rng(rng, "guide", number))
                if run is not None:
                    run.save_weights(part.tensors(), name)
            parts.append(part)
            tracker.advance(len(rows), f"objective {part.score.amax(dim=1).mean():.2f}")
    return Guided.concat(parts)


def _batch(
    generator: DifferentiableGenerator,
    condition: torch.Tensor,
    objective: GuidanceObjective,
    how: _How,
    image: torch.Tensor | None,
    rng: torch.Generator,
) -> Guided:
    """One batch from start to kept iterates."""
    modules = [model for model in objective.models() if isinstance(model, torch.nn.Module)]
    place = next((weight.device for module in modules for weight in module.parameters()), condition.device)
    state = generator.init_state(condition, rng, image)
    leaves = _leaves(state, how.lr)
    optimizer = torch.optim.Adam([{"params": [leaf], "lr": how.lr[name]} for name, leaf in leaves.items()],
                                 eps=ADAM_EPS)  # fmt: skip
    scheduler = None
    if how.schedule == "cosine":
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: _cosine(k, how.steps))
    best: _Best | None = None
    scores: list[torch.Tensor] = []
    for step in range(how.steps + 1):
        final = step == how.steps
        with torch.set_grad_enabled(not final):
            predicted = generator.decode(state, condition, last=1 if final else len(how.last_weights)).to(place)
        shown = predicted[-1].detach()
        label = condition.to(shown.device)
        with torch.no_grad():
            score = objective(shown, label)
        if not torch.isfinite(score).all():
            raise BadData(
                f"The objective is not finite at step {step} of guided generation.",
                "Lower lr, or look for NaN in the teacher's, the student's or the generator's weights.",
            )
        if best is None:
            best = _Best(shown, score)
        else:
            best.see(step, shown, score, score > best.score if how.keep == "best" else torch.ones_like(score).bool())
        scores.append(score)
        if final:
            break
        parts = [
            weight * _augmented(objective, prediction, label, how.cutouts, rng)
            for weight, prediction in zip(how.last_weights, predicted, strict=True)
            if weight
        ]
        loss = -torch.stack(parts).sum()
        for leaf, gradient in zip(leaves.values(), torch.autograd.grad(loss, list(leaves.values())), strict=True):
            leaf.grad = gradient
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if how.project:
            with torch.no_grad():
                generator.project(state)
    assert best is not None
    teacher, student = objective.confidence(best.image, label)
    found = (best.image, best.first, label, teacher, student, best.step, torch.stack(scores, dim=1))
    return Guided(*(value.detach().cpu() for value in found))


class _Best:
    """The iterate kept for each image of a batch."""

    def __init__(self, image: torch.Tensor, score: torch.Tensor) -> None:
        self.first, self.image, self.score = image, image.clone(), score.clone()
        self.step = torch.zeros(len(score), dtype=torch.int64, device=score.device)

    def see(self, step: int, image: torch.Tensor, score: torch.Tensor, take: torch.Tensor) -> None:
        """Keep this iterate for the images where ``take`` holds."""
        self.image[take], self.score[take], self.step[take] = image[take], score[take], step


def _augmented(
    objective: GuidanceObjective, image: torch.Tensor, label: torch.Tensor, cutouts: Cutouts, rng: torch.Generator
) -> torch.Tensor:
    """The objective behind cut-outs: mean over crops, sum over images (whose gradients do not mix)."""
    views = cutouts(image, rng)
    count = len(views) // len(image)
    return objective(views, label.repeat(count)).sum() / count


def _leaves(state: State, lr: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """The state tensors to optimise; the others are fixed."""
    free = {name: tensor for name, tensor in state.items() if tensor.requires_grad and lr.get(name, 0) > 0}
    if not free:
        names = ", ".join(name for name, tensor in state.items() if tensor.requires_grad)
        raise BadArgument.of("lr", dict(lr), f"a rate above 0 for at least one of {names}")
    for name, tensor in state.items():
        if name not in free:
            tensor.requires_grad_(False)
    return free


def _cosine(step: int, steps: int) -> float:
    """Factor on the step size, from 1 to 0.1."""
    return float(0.1 + 0.45 * (1 + torch.cos(torch.tensor(torch.pi * step / max(steps, 1)))))


def _config(
    generator: DifferentiableGenerator,
    how: _How,
    condition: torch.Tensor,
    image: torch.Tensor | None,
    objective: GuidanceObjective,
    rng: int,
    batch: int,
) -> dict[str, Any]:
    """What must agree for finished batches to be used again."""
    networks = [part for part in vars(generator).values() if isinstance(part, torch.nn.Module)]
    return {"settings": describe(how), "objective": describe(objective), "generator": describe(generator),
            "networks": describe(networks), "condition": describe(condition), "image": describe(image),
            "rng": rng, "batch_size": batch}  # fmt: skip
