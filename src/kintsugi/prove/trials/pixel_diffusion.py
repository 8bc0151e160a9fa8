"""Evidence for `pixel_diffusion`: its samples are nearer to real images than simple generators' are, and no copies.

Nearness is minus the kernel distance (Gretton et al. 2012: squared MMD, unbiased, Gaussian kernel of the median width)
to real images that neither generator saw, in two spaces that have nothing in common: features of a classifier trained
on yet other digits, and the pixels as they are. The simple generators are Gaussians of each class in the space of
principal components, of three sizes, and means of two training images of a class. A copy is nearer to the training
images than to as many unseen ones; a sample of the true distribution is so half of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import accuracy, digits, trained, whole
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.batch import Batch
    from kintsugi.core.run import Run

ROW = "digits, 8 px"
SPACES = ("nearness, classifier features", "nearness, pixels")
FRESH = "nearer to unseen than to training images"
COMPONENTS = (10, 20, 40)
SIMPLE = (*(f"Gaussians, {count} components" for count in COMPONENTS), "means of two")
COPIES = "training images with noise"
EACH = 700  # training images, and as many unseen ones; the classifier has the other 397
GENERATOR: dict[str, Any] = {
    "size": 8,
    "patch": 1,
    "widths": (24, 48),
    "embedding": 48,
    "steps": 800,
    "label_dropout": 0.0,
}


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "pixel_diffusion",
        "pixel_diffusion: how near its samples are to unseen images in two spaces, and whether they are copies",
        (
            *(Claim(ROW, space, "pixel_diffusion", SIMPLE) for space in SPACES),
            Claim(ROW, FRESH, "pixel_diffusion", (COPIES,), margin=0.3),
        ),
        _measure,
        "scikit-learn's handwritten digits, 8 px: 700 to train, 700 unseen to compare with, 397 for the classifier, "
        "cut anew for each seed; samples are of the training images' classes; sizes were fixed on seed 100",
        seeds=3,
        settings={**GENERATOR, "net": "plain", "epochs of the classifier": 30},
    )


def _measure(seed: int, run: Run) -> Measured:
    data = ImageSet.concat(list(digits(seed)))
    known, unseen = data.select(range(EACH)), whole(data.select(range(EACH, 2 * EACH)))
    judge, real = trained(data.select(range(2 * EACH, len(data))), seed, epochs=30), whole(known)
    generator = PixelDiffusion(**GENERATOR, device="cpu").fit(known, rng=torch_rng(seed, "generator"))
    images = {
        "pixel_diffusion": generator.sample(EACH, real.label, torch_rng(seed, "sample")),
        **dict(zip(SIMPLE, _simple(real, seed), strict=True)),
        COPIES: (real.image + 0.02 * torch.randn(real.image.shape, generator=torch_rng(seed, "noise"))).clamp(0, 1),
    }
    arms = {arm: (real.replace(image=image), unseen, real) for arm, image in images.items()}
    arms["real images"] = (_half(unseen, 0), _half(unseen, 1), _half(real, 0))
    for arm, (made, fresh, seen) in arms.items():
        pairs = zip(_spaces(judge, made.image), _spaces(judge, fresh.image), strict=True)
        scores = dict(zip(SPACES, (-_distance(*pair) for pair in pairs), strict=True))
        to_fresh, to_seen = (torch.cdist(_pixels(made.image), _pixels(each.image)).amin(1) for each in (fresh, seen))
        scores[FRESH] = float((to_fresh < to_seen).float().mean())
        yield ROW, arm, {**scores, "class recognised": accuracy(judge, made)}


def _simple(real: Batch, seed: int) -> list[torch.Tensor]:
    """Images of the simple generators, of the classes of ``real``."""
    flat = np.asarray(_pixels(real.image), dtype=np.float64)
    centre = flat.mean(axis=0)
    axes = np.linalg.svd(flat - centre, full_matrices=False)[2]
    rng, label, made = numpy_rng(seed, "simple"), np.asarray(real.label), []
    for count in COMPONENTS:
        place = (flat - centre) @ axes[:count].T
        drawn = np.empty_like(place)
        for k in np.unique(label):
            mine = label == k
            drawn[mine] = rng.multivariate_normal(
                place[mine].mean(axis=0), np.cov(place[mine], rowvar=False), size=int(mine.sum())
            )
        made.append(drawn @ axes[:count] + centre)
    other = np.empty(len(label), dtype=np.int64)
    for k in np.unique(label):
        order = rng.permutation(np.flatnonzero(label == k))
        other[order] = np.roll(order, 1)
    made.append((flat + flat[other]) / 2)
    return [_grey(np.clip(each, 0.0, 1.0)) for each in made]


def _grey(flat: Any) -> torch.Tensor:
    return torch.from_numpy(flat).float().reshape(-1, 1, 8, 8).expand(-1, 3, -1, -1)


def _pixels(image: torch.Tensor) -> torch.Tensor:
    return image.mean(1).flatten(1)


def _half(batch: Batch, which: int) -> Batch:
    return batch.replace(image=batch.image[which::2], label=batch.label[which::2], index=batch.index[which::2])


@torch.no_grad()
def _spaces(judge: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return judge.features(image), _pixels(image)


def _distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Squared MMD; the kernel's width is the median distance within ``two``, the real images."""
    width = torch.pdist(two.double()).median()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.exp(-torch.cdist(a.double(), b.double()).square() / (2 * width**2))

    def within(a: torch.Tensor) -> torch.Tensor:
        return (kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    return float(within(one) + within(two) - 2 * kernel(one, two).mean())
