"""The protocols of all kinds of method and of their collaborators. Rooms know each other only through these.

A method is a class whose constructor is its whole configuration; it holds no data. Random numbers are passed:
``numpy.random.Generator`` where the work is NumPy's, ``torch.Generator`` where it is torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from kintsugi.core.batch import Batch, Outputs
    from kintsugi.core.findings import Findings
    from kintsugi.core.run import Run
    from kintsugi.core.verdict import Verdict

    # `data` is imported by no one in `core`; these names only say what is meant.
    ImageSet = Any
    Groups = Any
    Loss = Any
    Certificate = Any


# ---------------------------------------------------------------------------------------------- collaborators


@runtime_checkable
class Model(Protocol):
    """A classifier that takes images in 0..1; resizing, normalisation and colour order are inside."""

    classes: tuple[str, ...]
    bounds: tuple[float, float]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to logits ``[B, K]``."""

    def features(self, image: torch.Tensor, at: str | None = None) -> torch.Tensor:
        """``[B, C, H, W]`` to ``[B, D]``: input of the last linear layer, or the pooled output of layer ``at``."""


@runtime_checkable
class Encoder(Protocol):
    """Maps images to vectors. ``fingerprint`` names weights and preprocessing: the key of the embedding cache."""

    name: str
    fingerprint: str

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, D]``."""


@runtime_checkable
class ImageTextEncoder(Encoder, Protocol):
    """Maps images and sentences into one space, where the cosine says how well they go together (CLIP and its kin).

    ``scale`` is what cosines are multiplied by to become logits. Called as an encoder it gives ``encode_image``.
    """

    scale: float

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, D]``."""

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """T sentences to ``[T, D]``."""


@runtime_checkable
class Answerer(Protocol):
    """Answers questions about images in words: a vision-language model, or heads that were trained to."""

    name: str

    def answer(self, image: torch.Tensor, questions: Sequence[str]) -> Sequence[str]:
        """``[B, C, H, W]`` in 0..1 and a question for each image to B answers; an empty one where there is none."""


@runtime_checkable
class ContentDetector(Protocol):
    """Says whether something is to be seen in an image: faces, people, number plates.

    ``cost`` is what one image costs in any unit that detectors share (weights, seconds): cheap ones are asked first.
    """

    name: str
    cost: float

    def score(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to probabilities float ``[B]``: those of the surest place in each image."""


@runtime_checkable
class Generator(Protocol):
    """Makes images of a class."""

    classes: tuple[str, ...]

    def fit(self, data: ImageSet, *, rng: torch.Generator, run: Run | None = None) -> Any:
        """Train on a data set; interrupted work resumes from ``run``."""

    def sample(self, n: int, condition: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """``n`` images ``[n, C, H, W]`` in 0..1 of classes ``condition`` (int64 ``[n]``)."""


State = dict[str, "torch.Tensor"]


@runtime_checkable
class DifferentiableGenerator(Generator, Protocol):
    """A generator whose whole sampling path can be differentiated: what guidance (cards 1 and 2) works on."""

    def init_state(self, condition: torch.Tensor, rng: torch.Generator, image: torch.Tensor | None = None) -> State:
        """Leaf tensors, first axis ``B``: start latents (noise, or ``image`` inverted) and conditioning deltas."""

    def decode(self, state: State, condition: torch.Tensor, *, last: int = 1) -> torch.Tensor:
        """The clean images predicted at the ``last`` sampling steps, ``[last, B, C, H, W]`` in 0..1, final one last."""

    def project(self, state: State) -> None:
        """Put the state back where the generator expects it, in place (norm of the start latents kept)."""


# ------------------------------------------------------------------------------------------- one verb a kind


class Auditor(Protocol):
    """Facts about data. ``outputs`` must be held out for label checks; an auditor that needs none ignores it."""

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the data."""


class Corruption(Protocol):
    """A change a camera, codec or the weather makes."""

    def __call__(self, image: torch.Tensor, severity: int, rng: torch.Generator) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 at severity 1..5 to the same shape, dtype and device, in 0..1."""


class Attack(Protocol):
    """A change made to break a model; the family's base owns bounds, clipping and counting success."""

    def run(self, model: Model, batch: Batch, *, eps: float, rng: torch.Generator) -> torch.Tensor:
        """Adversarial images ``[B, C, H, W]`` within ``eps`` of ``batch.image``."""


class Verifier(Protocol):
    """Proves for single images that no change within a bound flips the answer."""

    def __call__(self, model: Model, batch: Batch, *, eps: float) -> Certificate:
        """Certify a batch."""


class Bias(Protocol):
    """Plants a cue a model must not lean on."""

    def __call__(self, data: ImageSet, rng: np.random.Generator) -> ImageSet:
        """A view of the data with the cue in the images; labels and ids unchanged."""


class Discoverer(Protocol):
    """Facts about a model on data."""

    def __call__(self, data: ImageSet, outputs: Outputs, rng: np.random.Generator) -> Groups | Findings:
        """Groups or findings inferred from what the model says."""


class Explainer(Protocol):
    """Where in the image the answer comes from."""

    def __call__(self, model: Model, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Maps float ``[B, H, W]`` for classes ``target`` (int64 ``[B]``)."""


class Objective(Protocol):
    """What training minimises. Bases in ``kintsugi.training.objective`` implement ``step``."""

    def setup(self, data: ImageSet) -> None:
        """Look at the training data once (class and group counts)."""

    def forward(self, model: Any, batch: Batch) -> Loss:
        """The loss of a batch."""

    def step(self, model: Any, batch: Batch, optimizer: Any) -> Loss:
        """One update; two-step methods override it."""


class Sampler(Protocol):
    """Which samples make the batches of an epoch."""

    def setup(self, data: ImageSet) -> None:
        """Look at the training data once."""

    def epoch(self, number: int, batch_size: int, rng: np.random.Generator) -> Iterable[NDArray[np.int64]]:
        """Index batches of epoch ``number`` (from 0)."""


class Augment(Protocol):
    """Changes a training batch."""

    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch:
        """A new batch; the given one is untouched."""


class Posthoc(Protocol):
    """Mends a trained model without retraining all of it."""

    def __call__(self, model: Model, data: ImageSet, rng: np.random.Generator) -> Model:
        """A mended copy; the given model is untouched."""


class Detector(Protocol):
    """Scores images never seen; higher is more anomalous or more likely fake."""

    def fit(self, data: ImageSet, rng: np.random.Generator) -> Any:
        """Learn from normal (or real) images."""

    def score(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to float ``[B]``."""


class Metric(Protocol):
    """A mergeable accumulator: ``a.update(...); b.update(...); a.merge(b); a.compute()``."""

    def update(self, prob: NDArray[Any], label: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> None:
        """Add samples: probabilities ``[B, K]``, labels ``[B]``, groups ``[B]``."""

    def merge(self, other: Any) -> None:
        """Add what another accumulator saw."""

    def compute(self) -> Mapping[str, Any]:
        """The numbers, with intervals, and the averaging rule in words."""


class Recipe(Protocol):
    """A method of several stages; may use every room."""

    def __call__(self, model: Any, data: ImageSet, fit: Callable[..., Run], rng: int, run: Run) -> Run:
        """A repaired model in a run folder; ``rng`` is a seed, since stages and resumes derive streams from it."""


class Study(Protocol):
    """A paper whose content is an experiment: its evidence is the claim repeated."""

    def run(self, models: Sequence[Any], data: ImageSet, rng: int) -> tuple[Any, Verdict]:
        """A table and a verdict."""
