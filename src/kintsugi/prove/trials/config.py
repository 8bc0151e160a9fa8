"""ConfiG beside its baselines: the student's training data miss two groups of four, 100 images are added.

For each training of teacher and generator (a unit) several students are trained, each in every arm with the same
data, first weights and number of images; in every arm with added images half of each batch is added images, labelled
by the teacher. The generator's training images hold the missing groups at 5% and at 1%; the teacher learned from a pool
in which every group is as large. Neither saw a test image or a group label.

Where the settings come from: nets, numbers of images and the student's 120 steps are those of the first trial, on
another deal of the same digits. How to guide was chosen anew for every world, on its validation part with other seeds,
by ``benchmarks/config_tuning.py``: once for ConfiG, and these settings serve every objective; once more for guidance by
the student alone, which then gets an arm of its own, for it is the strongest of the plain arms.

How long students train matters to the margin: the rows of 250 steps retrain every arm twice as long on the same
images. They are shown and decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.devices import pick
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import derive, torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.models.base import TorchModel
from kintsugi.models.open import open_model
from kintsugi.models.predict import predict
from kintsugi.prove.additions import BEST_OF_N, Additions, Guiding
from kintsugi.prove.trial import Cell, Claim
from kintsugi.repair.augment.cutmix import CutMix
from kintsugi.repair.sampling.mixed_share import MixedShare
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.objective.soft_targets import SoftTargets
from kintsugi.training.settings import Training

if TYPE_CHECKING:
    from kintsugi.prove.worlds import World

SHARES = {"5% pool": 0.05, "1% pool": 0.01}
OWN = "student only, own settings"
PLAIN = ("nothing", "CutMix", "unguided", "reconstruction", "pool, teacher-labelled", "teacher only", "student only")
CEILING = "real images of the missing groups"
METRIC = "worst group"
TRAINING = Training(lr=3e-3, weight_decay=1e-3, device="cpu")


@dataclass(frozen=True)
class Settings:
    """Everything that was chosen; see the module for where.

    Attributes:
        lengths: training steps of students; the first decides, and is that of the student that guides.
        guiding: of every objective.
        own: of guidance by the student alone, in an arm of its own.
    """

    pool: int = 4000
    student_images: int = 1000
    added: int = 100
    teacher_width: int = 24
    student_width: int = 8
    teacher: Training = field(default_factory=lambda: replace(TRAINING, steps=400, warmup=40))
    student: Training = TRAINING
    lengths: tuple[int, ...] = (120, 250)
    generator_steps: int = 1200
    form: str = "product"
    guiding: Guiding = field(default_factory=Guiding)
    own: Guiding = field(default_factory=lambda: Guiding(20, 0.01, 0.03))

    def on(self, device: str) -> Settings:
        """The same on another device."""
        return replace(self, teacher=replace(self.teacher, device=device), student=replace(self.student, device=device))


SETTINGS = {
    "digits": Settings(guiding=Guiding(4, 0.1, 0.1)),
    "fashion": Settings(guiding=Guiding(8, 0.01, 0.1)),
    "photos": Settings(guiding=Guiding(20, 0.003, 0.3), own=Guiding(8, 0.01, 0.1)),
}


def row_of(share: str, steps: int) -> str:
    """Name of a row: how rare the missing groups are in the pool, and how long students train."""
    return f"{share}, {steps} steps"


def claims(lengths: tuple[int, ...]) -> tuple[Claim, ...]:
    """At least 15 points above the best plain baseline in both rows, and above best of N in the 1% row."""
    made = []
    for steps in lengths:
        for share in SHARES:
            row, later = row_of(share, steps), steps != lengths[0]
            made.append(Claim(row, METRIC, "ConfiG", PLAIN, 0.15, shown_only=later))
            made.append(Claim(row, METRIC, "ConfiG", (OWN,), 0.15, shown_only=later))
            made.append(Claim(row, METRIC, "ConfiG", BEST_OF_N, 0.15, shown_only=later or share != "1% pool"))
            made.append(Claim(row, METRIC, CEILING, ("ConfiG",), shown_only=True))
    return tuple(made)


class ConfigTrial:
    """The trial on one world of images.

    Args:
        world: images with a shortcut whose place is known.
        part: whose images students are measured on.
        settings: see :class:`Settings`; None takes those chosen for the world.
        trainings: trainings of teacher and generator, each row its own.
        each: students of a training, unless the caller says how many there are in all.
        device: where everything is trained and made.
    """

    def __init__(
        self, world: World, part: str = "test", settings: Settings | None = None, *, trainings: int = 3, each: int = 4,
        device: str = "cpu", name: str = "",
    ) -> None:  # fmt: skip
        one_of("part", part, ("valid", "test"))
        self.world, self.part, self.trainings, self.device = world, part, trainings, device
        self.settings = (settings or SETTINGS[world.name]).on(device)
        self.name = name or ("config" if world.name == "digits" else f"config-{world.name}")
        self.title = f"ConfiG against its baselines: {world.title}, {part} part"
        self.claims = claims(self.settings.lengths)
        self._each = each

    def units(self, seeds: int | None) -> list[str]:
        """A share and a training each; ``seeds`` students in all a row, shared out over the trainings."""
        if seeds is not None:
            self._each = -(-seeds // self.trainings)
        return [
            f"{share:.0%}-{number}".replace("%", "") for number in range(self.trainings) for share in SHARES.values()
        ]

    def facts(self) -> dict[str, Any]:
        """Data and settings."""
        shown = {name: str(value) for name, value in vars(self.settings).items()}
        rows = {
            row: f"{round(share * self.settings.pool)} of {self.settings.pool} images" for row, share in SHARES.items()
        }
        return {"data": self.world.title, "part": self.part, "missing groups in the generator's images": rows,
                "students of a training": self._each, "device": self.device, "settings": shown}  # fmt: skip

    def run(self, unit: str, run: Run) -> list[Cell]:
        """Train teacher and generator, then every arm for every student."""
        percent, _, number = unit.partition("-")
        share = next(name for name, s in SHARES.items() if f"{s:.0%}" == f"{percent}%")
        seed = derive(int(number), self.part)  # what was tuned on one part's seeds is tested on others
        teacher = self.teacher(seed, run)
        pool = self.world.pool(self.settings.pool, SHARES[share], derive(seed, "pool") % 2**31)
        generator = self.generator(pool, seed, run)
        cells = []
        for student in range(int(number) * self._each, (int(number) + 1) * self._each):
            arms = Arms(self, teacher, generator, pool, derive(student, self.part, "student"))
            for steps, arm, scores in arms.all():
                cells.append(Cell(row_of(share, steps), f"training {number}", student, arm, scores))
            run.log(student=student, **arms.facts)
        return cells

    def teacher(self, seed: int, run: Run) -> TorchModel:
        """A net trained on a pool in which every group is as large."""
        model = self.net(self.settings.teacher_width, derive(seed, "teacher"))
        pool = self.world.pool(self.settings.pool, 0.5, derive(seed, "teacher pool") % 2**31)
        fit(model, pool, ERM(), how=self.settings.teacher, rng=derive(seed, "teacher"), run=run.sub("teacher"))
        run.log(teacher=self.measure(model))
        return model

    def generator(self, pool: ImageSet, seed: int, run: Run) -> PixelDiffusion:
        """A generator trained on a pool."""
        made = PixelDiffusion(
            size=self.world.size, steps=self.settings.generator_steps, label_dropout=0.0, device=self.device
        )
        return made.fit(pool, rng=torch_rng(seed, "generator"), run=run.sub("generator"))

    def net(self, width: int, seed: int) -> TorchModel:
        """A small net with weights of its seed."""
        model = open_model("small:cnn", data_classes=self.world.classes, seed=seed, width=width)
        assert isinstance(model, TorchModel)
        return model

    def measure(self, model: TorchModel) -> dict[str, float]:
        """Accuracy of the worst group, of the mean over groups, and over all."""
        data = self.world.every_group(self.part)
        right = predict(model, data, batch_size=512).predicted == data.labels
        groups = data.groups("label", self.world.attribute)
        by_group = [float(right[groups.members(g)].mean()) for g in range(len(groups))]
        return {METRIC: min(by_group), "mean of groups": float(np.mean(by_group)), "average": float(right.mean())}


class Arms:
    """All arms of one student.

    Args:
        trial: the world and the settings.
        teacher: labels everything.
        generator: trained on ``pool``.
        pool: the generator's training images.
        seed: the student's.
    """

    def __init__(
        self, trial: ConfigTrial, teacher: TorchModel, generator: PixelDiffusion, pool: ImageSet, seed: int
    ) -> None:
        self.trial, self.how, self.seed = trial, trial.settings, seed
        real = trial.world.student(self.how.student_images, derive(self.seed, "student") % 2**31)
        self.added = Additions(
            teacher, generator, pool, real, count=self.how.added, seed=self.seed, device=pick(trial.device)
        )

    @property
    def facts(self) -> dict[str, float]:
        """What guidance reached, in how long."""
        return self.added.facts

    def all(self) -> list[tuple[int, str, dict[str, float]]]:
        """Steps, arm and scores."""
        before = self.student(self.how.lengths[0])
        arms: dict[str, ImageSet | None] = {"nothing": None, "CutMix": None}
        arms |= self.added.plain()
        forms = {"teacher only": "teacher", "student only": "student", "ConfiG": self.how.form}
        arms |= self.added.guided(before, forms, self.how.guiding)
        arms |= self.added.best_of_n(before, self.how.form, self.facts["ConfiG: seconds"])
        arms |= self.added.guided(before, {OWN: "student"}, self.how.own)
        real = self.trial.world.missing(self.how.added, derive(self.seed, "r") % 2**31)
        arms[CEILING] = self.added.taught(real, "added")
        return [
            (steps, arm, self.trial.measure(self.student(steps, data, CutMix() if arm == "CutMix" else None)))
            for arm, data in arms.items()
            for steps in self.how.lengths
        ]

    def student(self, steps: int, added: ImageSet | None = None, augment: CutMix | None = None) -> TorchModel:
        """A student from its first weights, on its own images and the added ones."""
        model = self.trial.net(self.how.student_width, derive(self.seed, "first weights"))
        data = self.added.real if added is None else ImageSet.concat([self.added.real, added])
        sampler = None if added is None else MixedShare("origin", {"real": 0.5, "added": 0.5})
        how = replace(self.how.student, steps=steps, warmup=steps // 5)
        fit(model, data, SoftTargets(), how=how, sampler=sampler, augment=augment, rng=self.seed)
        return model


def trial(setting: str = "") -> ConfigTrial:
    """The trial: on the embedded digits, ``validation`` for their validation part, or a world of ``KINTSUGI_DATA``."""
    from kintsugi.prove.worlds import WORLDS

    one_of("setting", setting, ("", "validation", *WORLDS))
    if setting in ("", "validation"):
        return ConfigTrial(WORLDS["digits"](), "valid" if setting else "test")
    return ConfigTrial(WORLDS[setting]())
