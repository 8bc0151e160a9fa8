"""What can be added to a student's training images, arm by arm: as many images in each, from the same generator."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.randomness import derive, numpy_rng, torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.cutouts import Cutouts
from kintsugi.generate.guidance import ConfidenceGuidance
from kintsugi.generate.guided import Guided, guided_optimise
from kintsugi.models.predict import as_images, predict

if TYPE_CHECKING:
    from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
    from kintsugi.models.base import TorchModel

BEST_OF_N = ("best of N each", "best of N pooled")


@dataclass(frozen=True)
class Guiding:
    """How images are guided; the same for every objective.

    Attributes:
        steps: optimiser steps.
        lr_latent: step size for the start latent.
        lr_condition: step size for the class embedding of every sampling step.
        noise: standard deviation on the cut-outs that the classifiers see.
        rounds: in how many turns the images are made; every turn after the first is guided by a student that was
            trained anew on the images of the turns before.
    """

    steps: int = 8
    lr_latent: float = 0.1
    lr_condition: float = 0.03
    noise: float = 0.025
    rounds: int = 1


class Additions:
    """The images that each arm adds for one student, with the teacher's soft labels.

    Args:
        teacher: labels everything.
        generator: trained on ``pool``.
        pool: the generator's training images.
        real: the student's training images.
        count: images an arm adds, classes in turn.
        seed: the student's; arms draw from streams of their own.
        device: where the generator is.
    """

    def __init__(
        self,
        teacher: TorchModel,
        generator: PixelDiffusion,
        pool: ImageSet,
        real: ImageSet,
        *,
        count: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.teacher, self.generator, self.pool, self.device, self.seed = teacher, generator, pool, device, seed
        self.real = self.taught(real, "real")
        self.want = torch.arange(count) % len(real.classes)
        self.facts: dict[str, float] = {}

    def plain(self) -> dict[str, ImageSet]:
        """Arms that ask no student: unguided samples, reconstructions of its images, images of the pool."""
        drawn = numpy_rng(self.seed, "draw")
        return {
            "unguided": self._added(self._sampled(0)),
            "reconstruction": self._added(self._reconstructed(drawn)),
            "pool, teacher-labelled": self.taught(
                self.pool.select(drawn.permutation(len(self.pool))[: len(self.want)]), "added"
            ),
        }

    def guided(
        self, student: TorchModel, forms: Mapping[str, str], how: Guiding, again: Callable[[ImageSet], TorchModel]
    ) -> dict[str, ImageSet]:
        """An arm for each form of the objective, by name; ``again`` trains the student on the images made so far."""
        made = {}
        for arm, form in forms.items():
            began, guide = self._clock(), student
            found: list[Guided] = []
            for turn, want in enumerate(self.want.tensor_split(how.rounds)):
                if turn:
                    guide = again(self._added(Guided.concat(found).image))
                found.append(self._turn(guide, form, how, turn, want))
            images = Guided.concat(found)
            self.facts |= {f"{arm}: t_y": float(images.teacher.mean()), f"{arm}: f_y": float(images.student.mean()),
                           f"{arm}: seconds": self._clock() - began}  # fmt: skip
            made[arm] = self._added(images.image)
        return made

    def _turn(self, student: TorchModel, form: str, how: Guiding, turn: int, want: torch.Tensor) -> Guided:
        return guided_optimise(
            self.generator, want, ConfidenceGuidance(self.teacher, student, form=form), steps=how.steps,
            lr={"latent": how.lr_latent, "condition": how.lr_condition},
            cutouts=Cutouts(2, noise=how.noise, pad=1), last_weights=(1.0,),
            rng=derive(self.seed, "guide", turn) if turn else derive(self.seed, "guide"), batch_size=100,
        )  # fmt: skip

    def best_of_n(self, student: TorchModel, form: str, seconds: float) -> dict[str, ImageSet]:
        """Unguided candidates for so many seconds: the best of each place, and the best of each class."""
        objective = ConfidenceGuidance(self.teacher, student, form=form)
        images: list[torch.Tensor] = []
        scores: list[torch.Tensor] = []
        began = self._clock()
        while not images or self._clock() - began < seconds:
            made = self._sampled(1 + len(images))
            with torch.no_grad():
                scores.append(objective(made, self.want.to(made.device)).cpu())
            images.append(made.cpu())
        image, score = torch.stack(images), torch.stack(scores)
        self.facts["N"] = float(len(images))
        each = image[score.argmax(0), torch.arange(len(self.want))]
        pooled = torch.empty_like(each)
        for k in self.want.unique():
            mine = (self.want == k).nonzero()[:, 0]
            top = score[:, mine].flatten().topk(len(mine)).indices
            pooled[mine] = image[:, mine].flatten(0, 1)[top]
        return {arm: self._added(found) for arm, found in zip(BEST_OF_N, (each, pooled), strict=True)}

    def taught(self, data: ImageSet, origin: str) -> ImageSet:
        """With the teacher's soft labels, and ids and columns that can be joined."""
        soft = predict(self.teacher, data, batch_size=512).prob
        plain = ImageSet.from_arrays(
            _uint8(data), data.labels, data.classes, id=[f"{origin}-{k}" for k in range(len(data))]
        )
        return plain.with_targets(soft).with_column("origin", [origin] * len(data))

    def _added(self, image: torch.Tensor) -> ImageSet:
        pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return self.taught(ImageSet.from_arrays(pixels, self.want[: len(pixels)].numpy(), self.real.classes), "added")

    def _sampled(self, turn: int) -> torch.Tensor:
        return self.generator.sample(len(self.want), self.want, torch_rng(self.seed, "sample", turn))

    def _reconstructed(self, rng: np.random.Generator) -> torch.Tensor:
        """Real training images of the wanted classes, noised halfway and cleaned again."""
        orders = [iter(rng.permutation(np.flatnonzero(self.real.labels == k))) for k in range(len(self.real.classes))]
        rows = np.array([next(orders[int(k)]) for k in self.want])
        image = as_images(_uint8(self.real.select(rows)), "cpu")
        return self.generator.reconstruct(image, self.want, torch_rng(self.seed, "reconstruct"))

    def _clock(self) -> float:
        """Seconds: of this process where it computes, of the wall where an accelerator does."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.accelerator.synchronize(self.device)
        return time.perf_counter()


def _uint8(data: ImageSet) -> Any:
    return np.concatenate([pixels for _, pixels in data.stream(512)])
