"""What trials on several labels an image share: collages of garments, and a net that learned from single garments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.collage import PatchCollage
from kintsugi.data.given import given_file
from kintsugi.data.label_sets import LabelSets
from kintsugi.models.predict import predict
from kintsugi.prove.small import trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "fashion_mnist_full_60k_10k.npz"
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SHARES = (0.15, 0.5)  # images of two garments in test sets A and B
SIZE = 2000
DATA = (
    "Fashion-MNIST, garments of 14 px in a grid of 2 x 2 cells; a small net learned from 3000 images of one garment; "
    f"two test sets of {SIZE} from the file's own test garments, of which {SHARES[0]:.0%} and {SHARES[1]:.0%} show two "
    "garments of different classes, one of them, drawn by chance, being the single label; everything as the card has it"
)


@dataclass(frozen=True)
class Answered:
    """A test set of collages and what the net says of it.

    Attributes:
        label: the single labels int64 ``[N]``.
        number: garments in each image int64 ``[N]``.
        prob: float ``[N, K]``.
        correct: valid labels bool ``[N, K]``.
    """

    label: NDArray[np.int64]
    number: NDArray[np.int64]
    prob: NDArray[Any]
    correct: NDArray[np.bool_]

    @property
    def top1(self) -> float:
        """Accuracy by the single labels."""
        return float((self.prob.argmax(axis=1) == self.label).mean())

    def take(self, rows: NDArray[np.int64]) -> Answered:
        """Some of the images, maybe several times."""
        return Answered(self.label[rows], self.number[rows], self.prob[rows], self.correct[rows])


@cache
def _garments(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with np.load(given_file(FILE)) as held:
        image, label = held[f"x_{part}"][:20_000], held[f"y_{part}"][:20_000]
    small = np.stack([np.asarray(Image.fromarray(one).resize((14, 14), Image.Resampling.BOX)) for one in image])
    return small, label.astype(np.int64)


def answered(seed: int, size: int = SIZE) -> tuple[Answered, Answered]:
    """Test sets A and B as a net trained anew for a seed answers them."""
    rng = numpy_rng(seed, "collages")
    train = PatchCollage(*_garments("train"), CLASSES).make(np.ones(3000, dtype=int), rng)
    model, scenes, sets = trained(train, seed, epochs=6, width=12), PatchCollage(*_garments("test"), CLASSES), []
    for share in SHARES:
        data = scenes.make(1 + (rng.permutation(size) < round(share * size)), rng)
        correct = LabelSets.of_column(data).flags(len(CLASSES))
        sets.append(Answered(data.labels, data.column("patches"), predict(model, data).prob, correct))
    return sets[0], sets[1]
