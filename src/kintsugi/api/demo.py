"""``demo``: the main job on embedded real data whose cracks are known, in a few minutes on a laptop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.api.case import Case
from kintsugi.core.findings import Findings
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose import plant
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from kintsugi.api.mend import Mended
    from kintsugi.training.settings import Training

# Made by benchmarks/demo_weights.py: a teacher and a generator trained on a pool that the student never sees.
WEIGHTS = Path(__file__).parent / "weights"
STUDENT = "small:cnn"
TRAIN_IMAGES, WRONG_LABELS, DUPLICATES = 1000, 0.03, 30


@dataclass(frozen=True)
class Planted:
    """What was planted in the training part: ids of wrong labels, and pairs of near duplicates."""

    wrong: frozenset[str]
    pairs: frozenset[frozenset[str]]


def demo_data(seed: int = 0) -> tuple[ImageSet, Planted]:
    """Digits on photographs: training ties the class to the background, the other two parts hold all four groups.

    The training part has wrong labels and near duplicates planted; where they are is returned beside it.
    """
    world = DigitsOnPhotos()
    train = world.mixed(TRAIN_IMAGES, 0.0, "pool", seed)
    train, pairs = plant.near_duplicates(train, DUPLICATES, numpy_rng(seed, "plant", "duplicates"))
    train, wrong = plant.wrong_labels(train, WRONG_LABELS, numpy_rng(seed, "plant", "labels"))
    parts = {"train": train, "select": world.every_group("valid", seed), "holdout": world.every_group("test", seed)}
    data = ImageSet.concat([part.with_column("split", [name] * len(part)) for name, part in parts.items()])
    ids = np.array(train.ids)
    return data, Planted(frozenset(ids[wrong]), frozenset(frozenset(pair) for pair in pairs))


def settings(epochs: int = 12) -> Training:
    """How every model of the demo is trained."""
    from kintsugi.training.settings import Training

    return Training(epochs=epochs, batch_size=64, lr=3e-3, device="cpu")


def demo_case(out: str | Path, seed: int = 0) -> tuple[Case, Planted]:
    """The case of the demo: a student trained to fail, and the shipped teacher and generator."""
    from kintsugi.core.run import Run
    from kintsugi.generate.open import open_generator
    from kintsugi.models.open import open_model
    from kintsugi.training.fit import fit
    from kintsugi.training.objective.erm import ERM

    data, planted = demo_data(seed)
    student: Any = open_model(STUDENT, data_classes=data.classes, seed=seed, width=8)
    case = Case(
        data,
        student,
        teacher=open_model(WEIGHTS / "teacher", data_classes=data.classes),
        generator=open_generator(WEIGHTS / "generator", classes=data.classes, device="cpu"),
        attributes=("background",),
        cluster="digit",
        out=out,
        seed=seed,
    )
    fit(student, case.parts.train, ERM(), how=settings(), rng=seed, run=Run(Path(out) / "student"))
    return case, planted


def demo(out: str | Path = "kintsugi-demo", *, seed: int = 0) -> tuple[Mended, dict[str, float]]:
    """Train the failing student, mend it, and measure how well the planted faults were found.

    Returns:
        The outcome, and average precision by kind of planted fault.
    """
    case, planted = demo_case(out, seed)
    mended = case.mend(how=settings(), start="fresh")
    return mended, found_of(mended, planted, case)


def found_of(mended: Mended, planted: Planted, case: Case) -> dict[str, float]:
    """Average precision of the audit on the planted faults, over the training part."""
    from kintsugi.metrics.average_precision import average_precision

    train = set(case.parts.train.ids)
    labels, twins = mended.audit.of("label_errors"), mended.audit.of("near_duplicates")
    digit = dict(zip(case.data.ids, case.data.column("digit"), strict=True))
    ids = [name for name in case.data.ids if name in train]
    wrong = np.array([name in planted.wrong for name in ids])
    return {
        "wrong labels": float(average_precision(labels.scores(ids), wrong)),
        "near duplicates": _pair_precision(twins, planted, digit, train),
    }


def _pair_precision(found: Findings, planted: Planted, digit: dict[str, str], train: set[str]) -> float:
    """Average precision over the pairs that were scored; planted pairs that were not count as found last.

    Two renderings of one handwritten digit on one photograph can be as alike as a planted copy and its original. Such
    a pair is neither planted nor a false alarm, and is left out.
    """
    from kintsugi.metrics.average_precision import average_precision

    scored: dict[frozenset[str], float] = {}
    for row in found:
        pair = frozenset(row.ids)
        if row.subject == "pair" and pair <= train and (pair in planted.pairs or len({digit[n] for n in pair}) == 2):
            scored[pair] = row.score
    pairs: list[Any] = [*scored, *(planted.pairs - set(scored))]
    truth = np.array([pair in planted.pairs for pair in pairs])
    return float(average_precision(np.array([scored.get(pair, 0.0) for pair in pairs]), truth))
