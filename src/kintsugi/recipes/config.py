"""ConfiG: mend a student by distilling a robust teacher on images of which the teacher is sure and the student is not.

Under an unknown shift the training data miss whole groups. A generator's sampling path is optimised towards images of
a class that the teacher recognises and the student does not; these fill the gap, whatever the spurious feature is.

Popp, Laube, Schott and Hein (2025), arXiv 2506.02294. Stages: (1) train the student by cross-entropy to the teacher's
soft labels (EDRM; no hard-label term, temperature 1); (2) guide ``images`` generations by the objective of
:mod:`kintsugi.generate.guidance`, keeping the best iterate; (3) label them by the teacher's soft output, the class
asked for being only the target of guidance; (4) train on real and generated images. Stages 2 to 4 repeat for
``rounds``, the generated images adding up.

Ours, from trials (card 1): the product form with exponent 1 by default (the sum with exponent 2, as published, starves
the student's gradient in small settings), half of every batch generated, and training again from the first weights
instead of going on. Not verified in the paper: temperature, which images it starts from, settings of guidance.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.files import write_json, write_with
from kintsugi.core.kinds import DifferentiableGenerator, Model
from kintsugi.core.randomness import derive, numpy_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.cutouts import Cutouts
from kintsugi.generate.guidance import ConfidenceGuidance
from kintsugi.generate.guided import Guided, guided_optimise
from kintsugi.models.frozen import frozen
from kintsugi.repair.sampling.mixed_share import MixedShare
from kintsugi.training.describe import describe
from kintsugi.training.feed import Feed
from kintsugi.training.objective.soft_targets import SoftTargets

CARD = Card(
    name="config",
    kind="recipe",
    title="distil a teacher on generated images it is sure of and the student is not",
    paper="Popp et al., Improving Knowledge Distillation Under Unknown Covariate Shift Through Confidence-Guided Data "
    "Augmentation (2025), arXiv 2506.02294",
    card=1,
    needs=("teacher", "generator"),
    uses=("pixel_diffusion", "stable_diffusion", "soft_targets", "mixed_share"),
    status="proven",
    settings=(("fashion", "proven"), ("photos", "proven")),
)

SOURCES = ("sample", "invert")


@dataclass
class ConfiG:
    """Confidence-guided data augmentation for distillation.

    Args:
        teacher: the robust model; its classes are the student's.
        generator: makes images of these classes, differentiable through its sampling path.
        form: of the objective, see :class:`~kintsugi.generate.guidance.ConfidenceGuidance`.
        gamma: its exponent.
        images: generated images a round.
        share: share of every batch that is generated, between 0 and 1.
        rounds: how often to generate against the newest student.
        steps: optimiser steps of guidance.
        lr_latent: its step size for start latents.
        lr_condition: for the conditioning of every sampling step.
        lr_null: for the null conditioning, where the generator has one.
        last: predicted clean images in the loss, weighted 1 to ``last``.
        cutouts: crops before the classifiers.
        noise: standard deviation of the noise on them.
        pad: reflected border of small images, so that crops shift.
        source: ``sample`` starts from noise, ``invert`` from real images turned into latents.
        restart: after generating, train again from the weights the model came with; False goes on from the last.
        trained: the model already is the student to mend: leave out stage 1.
        temperature: of the soft labels in training.
        size: side at which the teacher sees real images to label them; None takes what its preprocessing scales to.
        batch_size: images guided together.
    """

    teacher: Model
    generator: DifferentiableGenerator
    form: str = "product"
    gamma: float = 1.0
    images: int = 100
    share: float = 0.5
    rounds: int = 1
    steps: int = 8
    lr_latent: float = 0.1
    lr_condition: float = 0.03
    lr_null: float = 0.03
    last: int = 1
    cutouts: int = 2
    noise: float = 0.025
    pad: int = 1
    source: str = "sample"
    restart: bool = True
    trained: bool = False
    temperature: float = 1.0
    size: int | None = None
    batch_size: int = 50

    def __post_init__(self) -> None:
        require(callable(self.teacher) and hasattr(self.teacher, "classes"), "teacher", type(self.teacher).__name__,
                "a model")  # fmt: skip
        require(isinstance(self.generator, DifferentiableGenerator), "generator", type(self.generator).__name__,
                "a generator with init_state, decode and project")  # fmt: skip
        ConfidenceGuidance(self.teacher, self.teacher, self.gamma, self.form)  # form and gamma are checked there
        for name in ("images", "rounds", "last", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1")
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        for name in ("lr_latent", "lr_condition", "lr_null"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 < self.share < 1, "share", self.share, "a number between 0 and 1")
        one_of("source", self.source, SOURCES)
        require(self.temperature > 0, "temperature", self.temperature, "a number above 0")
        require(self.size is None or self.size >= 1, "size", self.size, "a side in pixels, or None")
        self._views = Cutouts(self.cutouts, noise=self.noise, pad=self.pad)

    # ------------------------------------------------------------------------------------------- the stages

    def __call__(self, model: Any, data: ImageSet, fit: Any, rng: int, run: Run) -> Run:
        """Mend ``model`` in place.

        Args:
            model: the student, a trainable model of the teacher's classes.
            data: what it is trained on; labels say which classes to generate, and are not learned from.
            fit: :func:`kintsugi.training.fit.fit`, or it with settings bound.
            rng: seed of all stages.
            run: keeps every finished stage, so that a killed run goes on to the same weights; ``weights.safetensors``
                is the mended student, ``generated.parquet`` the images with sources and confidences.

        Raises:
            BadArgument: classes differ, or the model cannot be trained.
        """
        self._check(model, data)
        start = {name: value.detach().clone() for name, value in model.state_dict().items()}
        run.start({"method": CARD.name, "params": describe(self._params()), "student": describe(model),
                   "teacher": describe(self.teacher), "data": describe(data), "rng": rng,
                   **({"model": model.describe()} if hasattr(model, "describe") else {})})  # fmt: skip
        real = data.with_targets(self._soft(data)).with_column("origin", ["real"] * len(data))
        if not self.trained:
            fit(model, real, self._objective(), rng=derive(rng, "student", 0), run=run.sub("student-0"))
        made: list[ImageSet] = []
        for number in range(1, self.rounds + 1):
            found, sources = self._generate(model, data, derive(rng, "guide", number), run.sub(f"guided-{number}"))
            made.append(self._labelled(found, sources, data, number))
            self._record(run, number, found, made[-1], sources)
            if self.restart:
                model.load_state_dict(start)
            fit(model, ImageSet.concat([real, *made]), self._objective(),
                sampler=MixedShare("origin", {"real": 1 - self.share, "generated": self.share}),
                rng=derive(rng, "student", number), run=run.sub(f"student-{number}"))  # fmt: skip
        if run.stored:
            run.save_weights(model.state_dict())
        return run

    def _objective(self) -> SoftTargets:
        return SoftTargets(self.temperature)

    def _check(self, model: Any, data: ImageSet) -> None:
        if not isinstance(model, torch.nn.Module):
            raise BadArgument(f"A {type(model).__name__} cannot be trained.", "Give a torch model, not a black box.")
        for name, other in {"teacher": self.teacher.classes, "generator": self.generator.classes,
                            "model": getattr(model, "classes", data.classes)}.items():  # fmt: skip
            require(tuple(other) == tuple(data.classes), name, tuple(other), f"one of the classes {data.classes}")
        if not (data.labels >= 0).any():
            raise BadData("No sample has a label, so no class to generate is known.", "Label some.")

    def _params(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("teacher", "_views")}

    # ------------------------------------------------------------------------------------------- generating

    def _generate(self, model: Any, data: ImageSet, seed: int, run: Run) -> tuple[Guided, list[str]]:
        """Guided images against this student, as many of each class present, and the ids they started from."""
        present = np.unique(data.labels[data.labels >= 0])
        label = np.resize(present, self.images).astype(np.int64)
        image, sources = None, [""] * self.images
        if self.source == "invert":
            draw = numpy_rng(seed, "sources")
            rows = np.array([draw.choice(np.flatnonzero(data.labels == k)) for k in label])
            side = getattr(self.generator, "size", None)
            once, place = np.unique(rows, return_inverse=True)  # small classes give an image more than once
            feed = Feed(data.select(once), size=None if side is None else (side, side))
            image = torch.cat([batch.image for batch in feed.walk(64)])[torch.from_numpy(place)]
            sources = [data.ids[row] for row in rows]
        rates = {"latent": self.lr_latent, "condition": self.lr_condition, "null": self.lr_null}
        found = guided_optimise(
            self.generator, torch.from_numpy(label), ConfidenceGuidance(self.teacher, model, self.gamma, self.form),
            steps=self.steps, lr=rates, cutouts=self._views, image=image, rng=seed, batch_size=self.batch_size,
            last_weights=[k / sum(range(1, self.last + 1)) for k in range(1, self.last + 1)],
            run=run if run.stored else None,
        )  # fmt: skip
        return found, sources

    def _labelled(self, found: Guided, sources: list[str], data: ImageSet, number: int) -> ImageSet:
        """The generated images as data, with the teacher's soft labels on what the student will see: 8-bit pixels."""
        columns = {"origin": ["generated"] * len(found), "source": sources, "round": [number] * len(found)}
        ids = [f"config-{number}-{k:05d}" for k in range(len(found))]
        pixels = _bytes(found.image)
        made = ImageSet.from_arrays(pixels, found.label.numpy(), data.classes, id=ids, **columns)
        return made.with_targets(self._soft(made))

    @torch.no_grad()
    def _soft(self, data: ImageSet) -> NDArray[np.float32]:
        """The teacher's probabilities float ``[N, K]``."""
        weight = next(self.teacher.parameters(), None) if isinstance(self.teacher, torch.nn.Module) else None
        feed = Feed(data, size=None if self.size is None else (self.size, self.size), model=self.teacher,
                    device="cpu" if weight is None else weight.device)  # fmt: skip
        said = np.full((len(data), len(data.classes)), 1 / len(data.classes), dtype=np.float32)
        with frozen(self.teacher):
            for batch in feed.walk(128):
                said[batch.index.cpu().numpy()] = self.teacher(batch.image).float().softmax(dim=1).cpu().numpy()
        return said

    # -------------------------------------------------------------------------------------------- recording

    def _record(self, run: Run, number: int, found: Guided, made: ImageSet, sources: list[str]) -> None:
        """Log the round; in a folder, write all its images beside where they started, and the numbers."""
        facts = {
            "images": len(found),
            "teacher": float(found.teacher.mean()),
            "student": float(found.student.mean()),
            "objective": float(found.score.amax(dim=1).mean()),
            "objective_at_start": float(found.score[:, 0].mean()),
        }
        if not run.stored:
            run.log(round=number, **facts)
            return
        assert made.target is not None
        table = pa.table(
            {
                "id": made.ids,
                "label": found.label.numpy(),
                "image": _png(_bytes(found.image)),
                "start": _png(_bytes(found.start)),
                "source": sources,
                "round": [number] * len(found),
                "teacher": found.teacher.numpy(),
                "student": found.student.numpy(),
                "step": found.step.numpy(),
                "score": list(found.score.numpy()),
                "target": pa.FixedSizeListArray.from_arrays(pa.array(made.target.ravel()), len(made.classes)),
            }
        )
        if number > 1:
            before = pq.read_table(run.path("generated.parquet"))
            table = pa.concat_tables([before.filter(pc.less(before["round"], number)), table])
        write_with(run.path("generated.parquet"), lambda name: pq.write_table(table, name))
        write_json(run.path(f"guided-{number}.json"), {"round": number, "classes": made.classes, **facts})


def _bytes(image: torch.Tensor) -> NDArray[np.uint8]:
    """Float ``[N, C, H, W]`` in 0..1 to uint8 ``[N, H, W, C]``, rounded."""
    return (image.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _png(images: NDArray[np.uint8]) -> pa.Array:
    """Encoded images the way Hugging Face's data sets hold them, so that any reader shows them."""

    def encoded(image: NDArray[np.uint8]) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        return stream.getvalue()

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": encoded(image), "path": None} for image in images], type=kind)
