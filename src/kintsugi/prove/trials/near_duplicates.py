"""Evidence for `near_duplicates`: changed copies are ranked and flagged better than by perceptual hashes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.duplicates.near_duplicates import NearDuplicates
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.plant import near_duplicates
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.metrics.average_precision import average_precision
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kintsugi.core.run import Run

CIFAR = "cifar10_10k_train_2k_test_with_cifar10n.npz"
DIGITS, TILES, CIFAIR = "digits, exposure and noise", "photo tiles, moved and pressed", "CIFAR-10, judged pairs"
HASHES = ("dHash", "pHash of 64 bits", "pHash of 256 bits")
PIXELS, PROMISE = "pixel cosine", "twice the false pairs accepted"
TILE, COPIES, PARTS = 64, 60, 6
PRECISION = 0.9  # 1 - fdr of the method's default
AP, RECALL = "average precision", "recall at the threshold"
PLANTED_DATA = (
    "all 1797 of scikit-learn's handwritten digits and 90 copies with 10% gain and noise of 0.05, as the card has it; "
    "its two photographs in tiles of 64 px and 60 copies, cropped, half of them mirrored, pressed as JPEG; on digits "
    "the card knows plain pixels to be best, so there they are shown and decide nothing; claims were fixed on seeds "
    "100 and 101"
)
JUDGED_DATA = (
    "CIFAR-10's test images in six parts, one a seed, each with 2000 training images and the training halves of those "
    "of its pairs that ciFAIR's authors judged to be near-duplicates or very similar; claims were fixed on the sixth "
    "part"
)


def trial(setting: str = "") -> Seeded:
    """Planted copies among embedded images, or ``cifar``: pairs that people judged to be duplicates."""
    one_of("setting", setting, ("", "cifar"))
    claims = []
    for row in (CIFAIR,) if setting else (DIGITS, TILES):
        margin, against = (0.05, HASHES) if row == DIGITS else (0.1, (*HASHES, PIXELS))
        claims.append(Claim(row, AP, "near_duplicates", against, margin=margin))
        claims.append(Claim(row, RECALL, "near_duplicates", against))
        claims.append(Claim(row, "precision", "near_duplicates", (PROMISE,)))
        if row == DIGITS:
            claims += [Claim(row, metric, "near_duplicates", (PIXELS,), shown_only=True) for metric in (AP, RECALL)]
    return Seeded(
        "near_duplicates",
        "near_duplicates: average precision over all pairs, and recall and precision at its own threshold, where the "
        "baselines are given the best threshold of a precision of 0.9 in hindsight",
        tuple(claims),
        _measure_judged if setting else _measure_planted,
        JUDGED_DATA if setting else PLANTED_DATA,
        settings={"baselines": "each image is also compared with the mirrored others", "method": "its defaults"},
    )


def _measure_planted(seed: int, run: Run) -> Measured:
    data, planted = near_duplicates(ImageSet.concat(list(digits(seed))), 90, numpy_rng(seed, "plant"), noise=0.05)
    yield from _arms(DIGITS, data, planted, seed)
    data, planted = _tiles(numpy_rng(seed, "tiles"))
    yield from _arms(TILES, data, planted, seed)


def _tiles(rng: np.random.Generator) -> tuple[ImageSet, list[tuple[str, str]]]:
    from sklearn.datasets import load_sample_image

    shift = rng.integers(0, TILE // 2, size=2)
    tiles = [
        photo[top : top + TILE, left : left + TILE]
        for photo in (load_sample_image("china.jpg"), load_sample_image("flower.jpg"))
        for top in range(int(shift[0]), photo.shape[0] - TILE + 1, TILE)
        for left in range(int(shift[1]), photo.shape[1] - TILE + 1, TILE)
    ]
    chosen = rng.permutation(len(tiles))[:COPIES]
    ids = [f"tile-{number:03d}" for number in range(len(tiles))]
    names = [f"{ids[row]}-copy" for row in chosen]
    images = np.stack([*tiles, *(_pressed(tiles[row], rng) for row in chosen)])
    data = ImageSet.from_arrays(images, np.zeros(len(images), int), ["tile"], id=[*ids, *names])
    return data, [(ids[row], name) for row, name in zip(chosen, names, strict=True)]


def _pressed(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A copy as it comes back from elsewhere: cropped to 80..95% and enlarged, perhaps mirrored, pressed as JPEG."""
    import io

    from PIL import Image

    side = round(TILE * rng.uniform(0.8, 0.95))
    top, left = rng.integers(0, TILE - side + 1, size=2)
    part = Image.fromarray(image[top : top + side, left : left + side]).resize((TILE, TILE), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    held = io.BytesIO()
    part.save(held, "JPEG", quality=int(rng.integers(30, 81)))
    return np.asarray(Image.open(held).convert("RGB"))


def _measure_judged(seed: int, run: Run) -> Measured:
    part = min(seed, PARTS - 1)  # the last part is for trying out, under any other seed
    with np.load(given_file(CIFAR)) as held:
        listed, rng = held["duplicate_pairs_test_train_judgment"], numpy_rng(seed, "cifar")
        mine = numpy_rng(0, "parts").permutation(len(held["x_test"])) % PARTS == part
        test = np.flatnonzero(mine)
        true = listed[np.isin(listed[:, 0], test)]
        train = np.union1d(true[:, 1], rng.permutation(len(held["x_train"]))[:2000])
        images = np.concatenate([held["x_test"][test], held["x_train"][train]])
    split = ["test"] * len(test) + ["train"] * len(train)
    data = ImageSet.from_arrays(images, np.zeros(len(images), int), ["any"], split=split)
    first, second = np.searchsorted(test, true[:, 0]), len(test) + np.searchsorted(train, true[:, 1])
    pairs = [(data.ids[a], data.ids[b]) for a, b in zip(first, second, strict=True)]
    across = np.array(split)[:, None] != np.array(split)[None]
    yield from _arms(CIFAIR, data, pairs, seed, across)


def _arms(
    row: str, data: ImageSet, pairs: list[tuple[str, str]], seed: int, asked: NDArray[np.bool_] | None = None
) -> Measured:
    place = {name: number for number, name in enumerate(data.ids)}
    true, own, flagged = (np.zeros((len(data), len(data)), dtype=kind) for kind in (bool, float, bool))
    for a, b in pairs:
        true[place[a], place[b]] = true[place[b], place[a]] = True
    for finding in NearDuplicates()(data, None, numpy_rng(seed, "audit")):
        i, j = sorted(place[name] for name in finding.ids)
        own[i, j], flagged[i, j] = finding.score, finding.flagged
    wanted = np.triu(np.ones_like(true), 1) & (True if asked is None else asked)
    truth = true[wanted]
    hits, count = float((flagged & true)[wanted].sum()), float(flagged[wanted].sum())
    scores = {RECALL: hits / truth.sum(), "precision": hits / max(1.0, count), "flagged": count}
    yield row, "near_duplicates", {AP: average_precision(own[wanted], truth), **scores}
    yield row, PROMISE, {"precision": 1 - 2 * (1 - PRECISION)}
    for arm, similarity in _baselines(data).items():
        value = similarity[wanted]
        yield row, arm, {AP: average_precision(value, truth), RECALL: _best_recall(value, truth)}


def _best_recall(score: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """The highest recall of any threshold whose precision is :data:`PRECISION` or more; 0 if there is none."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(truth, score)
    return float(recall[precision >= PRECISION].max())


def _baselines(data: ImageSet) -> dict[str, NDArray[Any]]:
    """Similarity of all pairs ``[N, N]``; each image is compared with the mirrored others too."""
    from PIL import Image

    images = [Image.fromarray(data[row].image).convert("L") for row in range(len(data))]

    def alike(describe: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
        plain, turned = (
            np.stack([describe(image) for image in these]).astype(np.float32)
            for these in (images, [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images])
        )
        plain, turned = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6) for x in (plain, turned))
        mirrored = plain @ turned.T
        return np.maximum(plain @ plain.T, np.maximum(mirrored, mirrored.T))

    return {
        "dHash": alike(_dhash),
        "pHash of 64 bits": alike(_phash),
        "pHash of 256 bits": alike(partial(_phash, side=16)),
        PIXELS: alike(_pixels),
    }


def _dhash(image: Any, side: int = 8) -> NDArray[Any]:
    """Signs of the differences of horizontal neighbours."""
    small = np.asarray(image.resize((side + 1, side)), dtype=np.float32)
    return np.where(small[:, 1:] > small[:, :-1], 1.0, -1.0).ravel()


def _phash(image: Any, side: int = 8) -> NDArray[Any]:
    """Low frequencies of the cosine transform, above or below their median."""
    from scipy.fft import dctn

    low = dctn(np.asarray(image.resize((4 * side, 4 * side)), dtype=np.float32))[:side, :side].ravel()
    return np.where(low > np.median(low), 1.0, -1.0)


def _pixels(image: Any) -> NDArray[Any]:
    small = np.asarray(image.resize((16, 16)), dtype=np.float32)
    return (small - small.mean()).ravel()
