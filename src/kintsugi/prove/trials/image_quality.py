"""Evidence for `image_quality`: planted defects are told from usable images better than by fixed limits."""

from __future__ import annotations

import csv
import io
import zipfile
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from kintsugi.audit.files.image_quality import ImageQuality
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.formats import open_data
from kintsugi.data.given import given_file
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

PHOTOS, CIFAR = "imagenet_photos_500_short256.zip", "cifar10_10k_train_2k_test_with_cifar10n.npz"
KINDS = ("dark", "bright", "blurry", "low_information", "grey", "odd_size", "odd_shape")
USABLE = ("as it is", "dim", "soft")  # a third of the light; a blur one has to look for: poor, and no defect
EACH, GAMMA = 12, 2.2
ROWS = {"": "ImageNet's photographs", "cifar": "CIFAR-10"}
COUNTS = {"": 360, "cifar": 1200}
FIXED, BEST = "CleanVision's limits", "CleanVision's measures, best limits"
# Past which limit an image is flagged: CleanVision's own, and those of the best F1 over the seeds 100 to 104.
LIMITS: dict[str, dict[str, float]] = {
    FIXED: {"dark": 0.32, "bright": 0.05, "blurry": 0.29, "low_information": 0.3, "odd_shape": 0.35},
    "": {"dark": 0.2293, "bright": 0.3504, "blurry": 0.2875, "low_information": 0.2919, "odd_shape": 0.3755},
    "cifar": {"dark": 0.2336, "bright": 0.108, "blurry": 0.3075, "low_information": 0.2293, "odd_shape": 0.625},
}


def trial(setting: str = "") -> Seeded:
    """Photographs of ImageNet, or ``cifar``: images of 32 px."""
    one_of("setting", setting, tuple(ROWS))
    row = ROWS[setting]
    return Seeded(
        "image_quality",
        "image_quality: F1 of each kind of defect (flagged as what it is), and its mean over kinds",
        (
            Claim(row, "mean F1", "image_quality", (FIXED, BEST), margin=0.03),
            Claim(row, "usable images left alone", "image_quality", (FIXED,)),
            *(Claim(row, f"F1 {kind}", "image_quality", (FIXED, BEST), shown_only=True) for kind in KINDS),
        ),
        partial(_measure, setting, row),
        f"{row}; of {COUNTS[setting]} images drawn for a seed, none of them grey, {EACH} a kind get a defect at a "
        "strength drawn for each, and of the others a third has a third of the light and a third is a little soft, "
        "which is no defect. The method has its defaults, fixed on the seeds 100 to 102. CleanVision's measures and "
        "rules are written anew from its version 0.3.7; its best limits are those of the best F1 of each kind on these "
        "images at the seeds 100 to 104",
        seeds=8,
        settings={"best limits": LIMITS[setting], "CleanVision's limits": LIMITS[FIXED]},
    )


def _measure(setting: str, row: str, seed: int, run: Run | None) -> Measured:
    with TemporaryDirectory() as folder:
        kinds = _written(setting, seed, Path(folder))
        found = ImageQuality()(open_data(folder), None, numpy_rng(seed, "audit"))
        own = {kind: np.zeros(len(kinds), dtype=bool) for kind in KINDS}
        for finding in found.flagged:
            own[finding.check][int(Path(finding.ids[0]).stem)] = True
        plain = _plain(sorted(Path(folder).iterdir()))
    yield row, "image_quality", _scores(own, kinds)
    for arm, limits in ((FIXED, LIMITS[FIXED]), (BEST, LIMITS[setting])):
        yield row, arm, _scores(_flagged(plain, limits), kinds)


def _scores(flags: dict[str, NDArray[np.bool_]], kinds: NDArray[np.str_]) -> dict[str, float]:
    f1 = {kind: 2 * float((flags[kind] & (kinds == kind)).sum()) / (flags[kind].sum() + EACH) for kind in KINDS}
    anything = np.any(list(flags.values()), axis=0)
    return {
        "mean F1": float(np.mean(list(f1.values()))),
        "usable images left alone": float((~anything)[np.isin(kinds, USABLE)].mean()),
        **{f"F1 {kind}": float(value) for kind, value in f1.items()},
    }


def _written(setting: str, seed: int, folder: Path) -> NDArray[np.str_]:
    """The images of one seed as files, and what each one is."""
    rng, count = numpy_rng(seed, "quality", setting or "photos"), COUNTS[setting]
    kinds = np.repeat([*KINDS, *USABLE], [*[EACH] * len(KINDS), *[(count - EACH * len(KINDS)) // 3] * 3])
    draw = _cifar if setting else _imagenet
    for number, (image, kind) in enumerate(zip(draw(len(kinds), rng), kinds, strict=True)):
        made = _made(image, str(kind), rng)
        if setting:
            made.save(folder / f"{number:05d}.png")
        else:
            made.save(folder / f"{number:05d}.jpg", quality=92)
    return kinds


def _made(image: Image.Image, kind: str, rng: np.random.Generator) -> Image.Image:
    """The image with a defect, at its own size."""
    value, side, half = np.asarray(image, dtype=np.float64) / 255, min(image.size), rng.random() < 0.5
    if kind == "dark":
        value = value * 2 ** (-rng.uniform(4.5, 6.5) / GAMMA)
    elif kind == "dim":
        value = value / 3 ** (1 / GAMMA)
    elif kind == "bright":
        value = value * 2 ** (rng.uniform(5.5, 7.0) / GAMMA) if half else 1 - (1 - value) * rng.uniform(0.05, 0.12)
    elif kind == "low_information" and half:
        value = 0.5 + rng.uniform(0.15, 0.3) * rng.standard_normal(value.shape)
    elif kind == "low_information":
        high = round(rng.uniform(0.92, 1.0) * len(value))
        top = int(rng.integers(len(value) - high + 1))
        value[top : top + high] = rng.random(3)
    made = Image.fromarray(np.clip(np.rint(value * 255), 0, 255).astype(np.uint8))
    if kind in ("blurry", "soft"):
        return made.filter(ImageFilter.GaussianBlur(side * (rng.uniform(0.035, 0.06) if kind == "blurry" else 0.008)))
    if kind == "grey":
        return made.convert("L")
    width, height = made.size
    if kind == "odd_shape":
        return made.resize((width * 2, height // 2) if half else (width // 2, height * 2))
    if kind == "odd_size":
        factor = rng.uniform(3, 5)
        size = (width * factor, height * factor) if side < 64 else (width / factor, height / factor)
        return made.resize((round(size[0]), round(size[1])))
    return made


def _plain(paths: list[Path]) -> dict[str, NDArray[np.float64]]:
    """CleanVision's scores of every file; low is bad."""
    held: dict[str, list[float]] = {name: [] for name in ("dark", "bright", "blurry", "low_information", "odd_shape")}
    side, grey = [], []
    for path in paths:
        with Image.open(path) as image:
            image.load()
        rgb = np.asarray(image.convert("RGB"), dtype=np.float64)
        bright = np.sqrt(rgb**2 @ np.array([0.241, 0.691, 0.068])) / 255
        low, high = np.percentile(bright, [5, 99])
        ratio = max(image.size) / 64
        small = (
            image.resize((max(1, int(image.width // ratio)), max(1, int(image.height // ratio))))
            if ratio > 1
            else image
        )
        level = small.convert("L")
        edges = np.asarray(level.filter(ImageFilter.FIND_EDGES), dtype=np.float64)
        spread = 1 - np.exp(-0.01 * np.std(level.histogram()))
        held["dark"].append(high)
        held["bright"].append(1 - low)
        held["blurry"].append(min(1.0, 1 - np.exp(-0.01 * edges.std()) + (spread if spread > 0.18 else 0.0)))
        held["low_information"].append(min(1.0, 0.1 * image.entropy()))
        held["odd_shape"].append(min(image.width / image.height, image.height / image.width))
        side.append(np.sqrt(image.width * image.height))
        grey.append(float(image.mode == "L"))
    return {**{name: np.array(values) for name, values in held.items()}, "side": np.array(side), "grey": np.array(grey)}


def _flagged(plain: dict[str, NDArray[np.float64]], limits: dict[str, float]) -> dict[str, NDArray[np.bool_]]:
    """What lies past each limit; a size is odd three quartile ranges beyond the quartiles."""
    low, high = np.percentile(plain["side"], [25, 75])
    far = 3 * (high - low)
    return {
        **{name: plain[name] < limit for name, limit in limits.items()},
        "odd_size": (plain["side"] < low - far) | (plain["side"] > high + far),
        "grey": plain["grey"] > 0,
    }


def _best(setting: str, seeds: range = range(100, 105)) -> dict[str, float]:
    """The limit of the best F1 of each kind, halfway between two images."""
    parts: list[tuple[dict[str, NDArray[np.float64]], NDArray[np.str_]]] = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            kinds = _written(setting, seed, Path(folder))
            parts.append((_plain(sorted(Path(folder).iterdir())), kinds))
    found = {}
    for kind in LIMITS[FIXED]:
        score = np.concatenate([plain[kind] for plain, _ in parts])
        true = np.concatenate([kinds == kind for _, kinds in parts])
        order = np.argsort(score, kind="stable")
        hits = np.cumsum(true[order])
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + true.sum())
        f1[:-1][score[order][:-1] == score[order][1:]] = 0.0  # no limit lies between equal scores
        at = int(f1.argmax())
        found[kind] = float(score[order[at : at + 2]].mean())
    return found


def _imagenet(count: int, rng: np.random.Generator) -> list[Image.Image]:
    made: list[Image.Image] = []
    with zipfile.ZipFile(given_file(PHOTOS)) as packed:
        names = [row["file"] for row in csv.DictReader(io.StringIO(packed.read("labels.csv").decode()))]
        for k in rng.permutation(len(names)):
            image = Image.open(io.BytesIO(packed.read(names[int(k)]))).convert("RGB")
            if len(made) < count and _coloured(np.asarray(image)):
                made.append(image)
    return made


def _cifar(count: int, rng: np.random.Generator) -> list[Image.Image]:
    with np.load(given_file(CIFAR)) as held:
        images = held["x_train"]
    order = (int(k) for k in rng.permutation(len(images)) if _coloured(images[k]))
    return [Image.fromarray(images[next(order)]) for _ in range(count)]


def _coloured(image: NDArray[Any]) -> bool:
    return bool(np.ptp(image.astype(np.int16), axis=2).mean() > 4)
