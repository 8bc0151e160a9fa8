"""The ImageNet challenge's own files: boxes in XML, one file an image, and the labels of the validation images.

Two traps. Validation images lie in one folder, and their labels are in a file of class numbers in the order of the
file names: that order has nothing to do with classes. And the challenge numbers its classes from 1 in an order of its
own, while models number them from 0 in the order of the sorted WordNet ids: numbers are translated by id, never taken
over. Boxes have both ends inside, as :mod:`kintsugi.metrics.localization_error` wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

import numpy as np

from kintsugi.core.errors import BadData
from kintsugi.core.progress import track
from kintsugi.metrics.detection_map import Boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_boxes(files: Sequence[Path | str], classes: Sequence[str]) -> Boxes:
    """The objects of annotation files; the image of each box is its file's place in the list.

    Args:
        files: PASCAL-style XML (``object/name`` and ``object/bndbox``).
        classes: names of the classes in the files, WordNet ids as a rule, in the order of the labels.

    Raises:
        BadData: a file cannot be parsed, names another class or holds no box where one should be.
    """
    place = {name: k for k, name in enumerate(classes)}
    image: list[int] = []
    label: list[int] = []
    box: list[list[float]] = []
    for number, file in enumerate(track(files, "read boxes")):
        for thing in _parsed(Path(file)).iter("object"):
            name = (thing.findtext("name") or "").strip()
            if name not in place:
                raise BadData(f"{file} names the class {name!r}.", "Give all class names of the files.")
            try:
                box.append([float(thing.findtext(f"bndbox/{end}") or "") for end in ("xmin", "ymin", "xmax", "ymax")])
            except ValueError as error:
                raise BadData(f"{file}: an object of {name!r} has no box ({error}).", "Correct the file.") from error
            image.append(number)
            label.append(place[name])
    return Boxes(np.array(image, dtype=np.int64), np.array(label, dtype=np.int64), np.array(box).reshape(-1, 4))


def _parsed(file: Path) -> Xml.Element:
    content = file.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # entities that unfold can fill the memory
        raise BadData(f"{file} declares entities.", "Annotation files have none.")
    try:
        return Xml.fromstring(content)  # noqa: S314 - no entities, see above
    except Xml.ParseError as error:
        raise BadData(f"{file} is no XML ({error}).", "Name annotation files.") from error


def validation_labels(truth: Path | str, challenge_order: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Labels of the validation images in the order of their file names, int64 ``[N]``.

    Args:
        truth: text file with the challenge's class number, from 1, of each image.
        challenge_order: WordNet ids in the order in which the challenge numbers them.
        classes: WordNet ids in the order of the labels, the sorted one as a rule.

    Raises:
        BadData: a line is no such number, or an id is missing among the classes.
    """
    place = {name: k for k, name in enumerate(classes)}
    made = []
    for number, line in enumerate(Path(truth).read_text(encoding="utf-8").split(), start=1):
        if not line.isdecimal() or not 1 <= int(line) <= len(challenge_order):
            raise BadData(f"{truth} line {number}: {line!r} is no class number.", f"1 to {len(challenge_order)}.")
        name = challenge_order[int(line) - 1]
        if name not in place:
            raise BadData(f"{name!r} is not among the {len(classes)} classes.", "Give all classes.")
        made.append(place[name])
    return np.array(made, dtype=np.int64)
