"""A hard slice of real images: those a filter model gets wrong with little doubt, or takes for a class it knows.

Hendrycks et al., "Natural Adversarial Examples", CVPR 2021. Mode ``A`` (as in ImageNet-A): of images with trusted
labels keep those that the filter model gets wrong and gives a probability below ``p_max`` (0.15, from memory). Mode
``O`` (as in ImageNet-O): of images of no class of the model's, which have no label here, keep those it calls one of
them with a confidence of ``conf_min`` or more. People then take out what is mislabelled, ambiguous or of poor quality.

Filtering collects wrong labels as well as hard images: audit the labels first (`confident_learning`) and pass what it
doubts, or the slice measures the labels. The filter model scores about 0 on its own slice by construction; another
model's accuracy there is what counts, and of an O slice the area under precision and recall with its base rate
(`kintsugi.metrics.aupr_ood`). :func:`slice_scores` answers among the slice's classes alone, as the paper does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.metrics.aurra import Aurra
from kintsugi.metrics.calibration_error import CalibrationError
from kintsugi.metrics.topk_error import TopkError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="adversarial_filtration",
    kind="discoverer",
    title="a hard slice of real images: what a filter model gets wrong, or takes for a class it knows",
    paper="Hendrycks et al. Natural Adversarial Examples. CVPR 2021. arXiv 1907.07174",
    card=4,
    code="hendrycks/natural-adv-examples",
    status="proven",
)
PER_BIN = 100  # samples a bin of the paper's calibration error


@dataclass(frozen=True)
class AdversarialFiltration:
    """Filter images by a model's answers.

    Args:
        mode: ``A`` (wrong answers to labelled images) or ``O`` (confident answers to images without a label).
        p_max: probability of the label below which an image is kept, in mode ``A``.
        conf_min: confidence from which an image is kept, in mode ``O``.
        doubted: ids whose labels an audit doubts: they are left out of an A slice.
    """

    mode: Literal["A", "O"] = "A"
    p_max: float = 0.15
    conf_min: float = 0.5
    doubted: Collection[str] = ()

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("A", "O"))
        require(0 < self.p_max <= 1, "p_max", self.p_max, "a probability above 0, to 1")
        require(0 <= self.conf_min < 1, "conf_min", self.conf_min, "a probability from 0, below 1")
        require(not isinstance(self.doubted, str), "doubted", self.doubted, "a collection of ids")

    def __call__(self, data: ImageSet, outputs: Outputs, rng: np.random.Generator) -> Findings:
        """The slice: flagged findings, one an image; in mode ``A`` other wrong answers follow, not flagged.

        Args:
            data: candidates; those of no class of the model's have no label.
            outputs: of the filter model, row for row.
            rng: not drawn from.
        """
        require(list(outputs.id) == data.ids, "outputs", len(outputs.id), "outputs of this data, row for row")
        rows = list(self._wrong(data, outputs) if self.mode == "A" else self._outside(data, outputs))
        kept = sum(row.flagged for row in rows)
        pool = int(((data.labels >= 0) == (self.mode == "A")).sum())
        notes = [f"{kept} of {pool} candidates are kept. The filter model's own score on them means nothing."]
        if self.mode == "A" and not len(self.doubted):
            notes.append("Filtering collects wrong labels too: audit the labels first, and pass what is doubted.")
        if not pool:
            what = "labelled images" if self.mode == "A" else "images without a label"
            notes.append(f"There are no {what}: whether there is a hard slice cannot be told.")
        params = {"mode": self.mode, "p_max": self.p_max, "conf_min": self.conf_min, "doubted": len(self.doubted)}
        threshold = 1 - self.p_max if self.mode == "A" else self.conf_min
        return Findings.of(rows, CARD.name, params, Summary(threshold, float(kept), None, tuple(notes)))

    def _wrong(self, data: ImageSet, outputs: Outputs) -> Iterator[Finding]:
        left, label, answer = set(self.doubted), data.labels, outputs.predicted
        for row in np.flatnonzero((label >= 0) & (answer != label)):
            if data.ids[row] in left:
                continue
            p, top = (float(np.clip(outputs.prob[row, k], 0, 1)) for k in (label[row], answer[row]))
            old, new = data.classes[label[row]], data.classes[answer[row]]
            why = f"labelled {old} ({p:.2f}), the filter model says {new} ({top:.2f})"
            evidence = {"label": old, "answer": new, "p_label": p, "p_answer": top}
            yield Finding("sample", (data.ids[row],), 1 - p, p < self.p_max, "hard_image", "review", why, evidence)

    def _outside(self, data: ImageSet, outputs: Outputs) -> Iterator[Finding]:
        for row in np.flatnonzero(data.labels < 0):
            k = int(outputs.predicted[row])
            top = float(np.clip(outputs.prob[row, k], 0, 1))
            if top >= self.conf_min:
                why = f"of no class of the model's, yet it says {data.classes[k]} ({top:.2f})"
                evidence = {"answer": data.classes[k], "p_answer": top}
                yield Finding("sample", (data.ids[row],), top, True, "hard_outside", "review", why, evidence)


def slice_scores(prob: NDArray[Any], label: NDArray[np.int64], classes: Sequence[int]) -> dict[str, Any]:
    """How a model that was not the filter fares on a slice, answering among the slice's classes alone.

    Args:
        prob: float ``[N, K]``.
        label: int ``[N]``, each among ``classes``.
        classes: class indices the slice is made of; others cannot be answered.

    Returns:
        ``error``, ``aurra`` and ``calibration`` (root mean square over bins of 100), each as its metric gives it.

    Raises:
        BadData: a label is not among the classes, or there is no sample.
    """
    chosen = np.unique(np.asarray(classes, dtype=np.int64))
    if not len(label) or not np.isin(label, chosen).all():
        raise BadData("The slice is empty or has labels outside its classes:", "give the classes of its labels.")
    inside = np.asarray(prob, dtype=np.float64)[:, chosen]
    total = inside.sum(axis=1, keepdims=True)
    inside = np.where(total > 0, inside / np.where(total > 0, total, 1), 1 / len(chosen))
    place = np.searchsorted(chosen, label)
    error, area = TopkError(1), Aurra()
    calibration = CalibrationError(max(1, len(label) // PER_BIN), "mass", 2)
    for metric in (error, area, calibration):
        metric.update(inside, place)
    return {"error": error.compute(), "aurra": area.compute(), "calibration": calibration.compute()}
