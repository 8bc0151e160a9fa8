"""One world on one device: teachers, generators and students trained in it, all arms of a student, and their scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from kintsugi.core.devices import pick
from kintsugi.core.randomness import derive, torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.models.base import TorchModel
from kintsugi.models.open import open_model
from kintsugi.prove.additions import Additions, Guiding
from kintsugi.prove.small import by_group
from kintsugi.repair.augment.cutmix import CutMix
from kintsugi.repair.sampling.mixed_share import MixedShare
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.objective.soft_targets import SoftTargets
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kintsugi.prove.worlds import World

OWN = "student only, own settings"
CEILING = "real images of the missing groups"
METRIC = "worst group"


@dataclass(frozen=True)
class Settings:
    """Everything that is chosen for a world.

    Attributes:
        pool: training images of teachers and generators.
        student_images: real training images of a student.
        added: images every arm adds.
        lengths: training steps of students; the first is that of the student that guides.
        form: ConfiG's objective.
        guiding: of every objective.
        own: of guidance by the student alone, in an arm of its own.
    """

    pool: int = 4000
    student_images: int = 1000
    added: int = 100
    teacher_width: int = 24
    teacher_steps: int = 400
    student_width: int = 8
    lengths: tuple[int, ...] = (120, 250)
    generator_steps: int = 1200
    lr: float = 3e-3
    weight_decay: float = 1e-3
    form: str = "product"
    guiding: Guiding = field(default_factory=Guiding)
    own: Guiding = field(default_factory=lambda: Guiding(20, 0.01, 0.03))


@dataclass(frozen=True)
class Bench:
    """Where a trial of ConfiG trains and measures.

    Attributes:
        world: images with a shortcut whose place is known.
        part: whose images models are measured on, ``valid`` or ``test``.
        how: the settings.
        device: where everything is trained and made.
    """

    world: World
    part: str
    how: Settings
    device: str = "cpu"

    def pool(self, share: float, seed: int) -> ImageSet:
        """Training images of a generator, in which the missing groups have this share."""
        return self.world.pool(self.how.pool, share, derive(seed, "pool") % 2**31)

    def teacher(self, seed: int, run: Run) -> TorchModel:
        """A net trained on a pool in which every group is as large."""
        model = self.net(self.how.teacher_width, derive(seed, "teacher"))
        pool = self.world.pool(self.how.pool, 0.5, derive(seed, "teacher pool") % 2**31)
        how = self.training(self.how.teacher_steps, warmup=self.how.teacher_steps // 10)
        fit(model, pool, ERM(), how=how, rng=derive(seed, "teacher"), run=run.sub("teacher"))
        run.log(teacher=self.measure(model))
        return model

    def generator(self, pool: ImageSet, seed: int, run: Run) -> PixelDiffusion:
        """A generator trained on a pool."""
        made = PixelDiffusion(
            size=self.world.size, steps=self.how.generator_steps, label_dropout=0.0, device=self.device
        )
        return made.fit(pool, rng=torch_rng(seed, "generator"), run=run.sub("generator"))

    def net(self, width: int, seed: int) -> TorchModel:
        """A small net with weights of its seed."""
        model = open_model("small:cnn", data_classes=self.world.classes, seed=seed, width=width)
        assert isinstance(model, TorchModel)
        return model

    def measure(self, model: TorchModel) -> dict[str, float]:
        """Accuracy of the worst group, of the mean over groups, and over all."""
        data, group = self._measured
        return by_group(model, data, group)

    @cached_property
    def _measured(self) -> tuple[ImageSet, NDArray[np.int64]]:
        """What models are measured on, rendered once, and the group of each image."""
        data = self.world.every_group(self.part)
        return data, data.groups("label", self.world.attribute).index

    def training(self, steps: int, warmup: int) -> Training:
        """How nets are trained here."""
        return Training(
            lr=self.how.lr, weight_decay=self.how.weight_decay, steps=steps, warmup=warmup, device=self.device
        )


class Arms:
    """All arms of one student.

    Args:
        bench: where it is trained and measured.
        teacher: labels everything.
        generator: trained on ``pool``.
        pool: the generator's training images.
        seed: the student's.
    """

    def __init__(self, bench: Bench, teacher: TorchModel, generator: PixelDiffusion, pool: ImageSet, seed: int) -> None:
        self.bench, self.how, self.seed = bench, bench.how, seed
        real = bench.world.student(self.how.student_images, derive(seed, "student") % 2**31)
        self.added = Additions(
            teacher, generator, pool, real, count=self.how.added, seed=seed, device=pick(bench.device)
        )

    def all(self) -> Iterator[tuple[int, str, dict[str, float]]]:
        """Training steps, arm and scores."""
        again = partial(self.student, self.how.lengths[0])
        before = again()
        arms: dict[str, ImageSet | None] = {"nothing": None, "CutMix": None}
        arms |= self.added.plain()
        forms = {"teacher only": "teacher", "student only": "student", "ConfiG": self.how.form}
        arms |= self.added.guided(before, forms, self.how.guiding, again)
        arms |= self.added.best_of_n(before, self.how.form, self.added.facts["ConfiG: seconds"])
        if self.how.own == self.how.guiding:
            arms[OWN] = arms["student only"]
        else:
            arms |= self.added.guided(before, {OWN: "student"}, self.how.own, again)
        real = self.bench.world.missing(self.how.added, derive(self.seed, "r") % 2**31)
        arms[CEILING] = self.added.taught(real, "added")
        for arm, data in arms.items():
            for steps in self.how.lengths:
                student = self.student(steps, data, CutMix() if arm == "CutMix" else None)
                yield steps, arm, self.bench.measure(student)

    def student(self, steps: int, added: ImageSet | None = None, augment: CutMix | None = None) -> TorchModel:
        """A student from its first weights, on its own images and, half of every batch, the added ones."""
        model = self.bench.net(self.how.student_width, derive(self.seed, "first weights"))
        data = self.added.real if added is None else ImageSet.concat([self.added.real, added])
        sampler = None if added is None else MixedShare("origin", {"real": 0.5, "added": 0.5})
        how = self.bench.training(steps, warmup=steps // 5)
        fit(model, data, SoftTargets(), how=how, sampler=sampler, augment=augment, rng=self.seed)
        return model
