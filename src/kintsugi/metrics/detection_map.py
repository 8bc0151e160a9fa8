"""Mean average precision of detections, forgiving towards small objects as the ImageNet challenge is.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, section 4.3: detections of a class
are taken in order of their score; each is matched to the object of its image that it overlaps most among those not yet
found, if the overlap reaches the object's threshold; a second detection of an object is a false positive. An object of
w x h pixels has the threshold min(0.5, w h / ((w + 10)(h + 10))), which lets a box be off by about 5 pixels on every
side. AP is the area under precision against recall, precision being the highest at that recall or beyond (as in PASCAL
VOC from 2010; that the challenge does so is from memory). Equal scores are one threshold: their order cannot matter for
the area, and among them matching goes by image and place given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require
from kintsugi.core.progress import track
from kintsugi.metrics.localization_error import as_boxes, overlap

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """Boxes in images: objects, or detections with a score.

    Attributes:
        image: number of the image of each, int64 ``[N]``.
        label: class, int64 ``[N]``.
        box: ``x1 y1 x2 y2``, both ends inside, float64 ``[N, 4]``.
        score: of detections, float64 ``[N]``; None for objects.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    score: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        sizes = {len(v) for v in (self.image, self.label, as_boxes(self.box), self.score) if v is not None}
        if len(sizes) > 1:
            raise BadData(f"Boxes of {len(self.image)} images have columns of other lengths.", "Give one a box.")
        if self.score is not None and not np.isfinite(self.score).all():
            raise BadData("A detection's score is not finite.", "Leave it out.")


def detection_map(
    found: Boxes, objects: Boxes, *, small_object_rule: bool = True, threshold: float = 0.5
) -> dict[str, Any]:
    """Average precision of every class that has objects, and their mean under ``value``.

    Args:
        found: detections with scores.
        objects: what there is.
        small_object_rule: lower the threshold for small objects.
        threshold: overlap from which a detection counts.

    Raises:
        BadData: there is no object, or detections have no score.
    """
    require(0 < threshold <= 1, "threshold", threshold, "an overlap above 0, to 1")
    if not len(objects.image):
        raise BadData("There is no object:", "average precision is not defined.")
    if found.score is None:
        raise BadData("The detections have no score:", "give one each.")
    classes, strange = [], np.setdiff1d(found.label, objects.label)
    for k in track(np.unique(objects.label), "average precision"):
        there, said = objects.label == k, np.flatnonzero(found.label == k)
        order = said[np.lexsort((said, found.image[said], -found.score[said]))]
        least = np.full(int(there.sum()), threshold)
        box = as_boxes(objects.box)[there]
        if small_object_rule:
            w, h = (box[:, 2:] - box[:, :2] + 1).T
            least = np.minimum(threshold, w * h / ((w + 10) * (h + 10)))
        hit = _matched(found.image[order], as_boxes(found.box)[order], objects.image[there], box, least)
        value = _area(found.score[order], hit, int(there.sum()))
        classes.append({"label": int(k), "count": int(there.sum()), "detections": len(order), "value": value})
    return {
        "value": float(np.mean([row["value"] for row in classes])),
        "rule": "mean over classes that have objects, each weighing the same",
        "count": len(objects.image),
        "classes": classes,
        "detections of other classes": int(np.isin(found.label, strange).sum()),
    }


def _matched(image: Any, box: Any, object_image: Any, object_box: Any, least: Any) -> NDArray[np.bool_]:
    """Which detections, in order, find an object nobody found before."""
    mine: dict[int, NDArray[np.int64]] = {int(i): np.flatnonzero(object_image == i) for i in np.unique(object_image)}
    free, hit = np.ones(len(object_box), dtype=bool), np.zeros(len(box), dtype=bool)
    shared: dict[int, Any] = {}
    for i in np.unique(image):
        if int(i) in mine:
            rows = np.flatnonzero(image == i)
            shared |= dict(zip(rows.tolist(), overlap(box[rows], object_box[mine[int(i)]]), strict=True))
    for d, values in sorted(shared.items()):
        there = mine[int(image[d])]
        ok = free[there] & (values >= least[there])
        if ok.any():
            best = int(np.where(ok, values, -1.0).argmax())
            free[there[best]], hit[d] = False, True
    return hit


def _area(score: Any, hit: Any, objects: int) -> float:
    """Area under precision against recall; equal scores are one point."""
    if not len(score):
        return 0.0
    last = np.append(np.diff(score) != 0, True)
    right = np.cumsum(hit)[last]
    precision = right / (np.flatnonzero(last) + 1)
    recall = right / objects
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())
