"""Evidence for `broken_files`: planted breakage is told from usable images better than by one plain number each."""

from __future__ import annotations

import csv
import io
import zipfile
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from kintsugi.audit.files.broken_files import BrokenFiles
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.formats import open_data
from kintsugi.data.given import given_file
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

PHOTOS = "imagenet_photos_500_short256.zip"
KINDS = ("dark", "bright", "blank", "blurred", "unreadable", "odd")
USABLE = ("as it is", "dim", "faint")  # of a third of the light, of a quarter of the contrast: poor, and not broken
COUNT, EACH, SIDE = 240, 12, 160
NAIVE = "one number each"
# Limits of the plain numbers, each of the best F1 over the seeds 100 to 104.
LIMITS = {
    "": {"dark": 0.05, "bright": 0.96, "blank": 0.001, "blurred": 5.0},
    "photos": {"dark": 0.05, "bright": 0.89, "blank": 0.001, "blurred": 5.0},
}


def trial(setting: str = "") -> Seeded:
    """Crops of the embedded photographs, or ``photos``: photographs of ImageNet."""
    one_of("setting", setting, ("", "photos"))
    row = "ImageNet's photographs" if setting else "crops of two photographs"
    return Seeded(
        "broken_files",
        "broken_files: F1 of each kind of breakage (flagged as what it is), and its mean over kinds",
        (
            Claim(row, "mean F1", "broken_files", (NAIVE,)),
            Claim(row, "usable images left alone", "broken_files", (NAIVE,)),
            *(Claim(row, f"F1 {kind}", "broken_files", (NAIVE,), shown_only=True) for kind in KINDS),
        ),
        partial(_measure, setting, row),
        f"{'500 photographs of ImageNet' if setting else 'crops of 160 px of the two photographs of scikit-learn'}; of "
        f"each {COUNT} drawn for a seed, {EACH} a kind are broken, and of the others a third is dim and a third faint, "
        "which is no breakage; files are JPEGs. The method has its defaults; the thresholds of the plain numbers (mean "
        "luminance, its deviation, variance of the Laplacian) are the best of seeds 100 to 104; files are held "
        "unreadable if Pillow's verify says so, odd if width or height lies 3 deviations off",
        seeds=10,
        settings={"limits of the plain numbers": LIMITS[setting]},
    )


def _measure(setting: str, row: str, seed: int, run: Run) -> Measured:
    rng, draw = numpy_rng(seed, "broken"), _imagenet if setting else _crops
    kinds = np.repeat([*KINDS, *USABLE], [*[EACH] * len(KINDS), *[(COUNT - EACH * len(KINDS)) // 3] * 3])
    with TemporaryDirectory() as folder:
        for number, (image, kind) in enumerate(zip(draw(len(kinds), rng), kinds, strict=True)):
            Path(folder, f"{number:04d}.jpg").write_bytes(_made(image, str(kind), rng))
        found = BrokenFiles()(open_data(folder), None, rng)
        own = {kind: np.zeros(len(kinds), dtype=bool) for kind in KINDS}
        for finding in found.flagged:
            own["odd" if finding.check.startswith("odd") else finding.check][int(Path(finding.ids[0]).stem)] = True
        plain = _flagged(_plain(Path(folder), len(kinds)), LIMITS[setting])
    for arm, flags in (("broken_files", own), (NAIVE, plain)):
        yield row, arm, _scores(flags, kinds)


def _scores(flags: dict[str, NDArray[np.bool_]], kinds: NDArray[np.str_]) -> dict[str, float]:
    f1 = {kind: 2 * float((flags[kind] & (kinds == kind)).sum()) / (flags[kind].sum() + EACH) for kind in KINDS}
    anything = np.any(list(flags.values()), axis=0)
    return {
        "mean F1": float(np.mean(list(f1.values()))),
        "usable images left alone": float((~anything)[np.isin(kinds, USABLE)].mean()),
        **{f"F1 {kind}": float(value) for kind, value in f1.items()},
    }


def _made(image: Image.Image, kind: str, rng: np.random.Generator) -> bytes:
    """The image's file, broken."""
    light = np.asarray(image, dtype=np.float64) / 255
    if kind == "dark":
        light = light * rng.uniform(0.04, 0.1)
    elif kind == "bright":
        light = 1 - (1 - light) * rng.uniform(0.03, 0.06)
    elif kind == "blank":
        light = np.broadcast_to(rng.random(3), light.shape)
    elif kind == "dim":
        light = light / 3
    elif kind == "faint":
        light = light.mean() + (light - light.mean()) / 4
    image = Image.fromarray(np.clip(np.rint(light * 255), 0, 255).astype(np.uint8))
    if kind == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(min(image.size) * rng.uniform(0.03, 0.06)))
    elif kind == "odd":
        width, height = image.size
        small = (max(1, width // 12), max(1, height // 12))
        image = image.resize(small) if rng.random() < 0.5 else image.crop((0, 0, width, max(1, height // 14)))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=90)
    content = held.getvalue()
    if kind == "unreadable":
        content = [content[: len(content) // 2], b"", b"<html>404 Not Found</html>"][int(rng.integers(3))]
    return content


def _plain(folder: Path, count: int) -> dict[str, NDArray[np.float64]]:
    """The plain numbers of every file, NaN where Pillow's verify refuses it or it cannot be decoded."""
    measured = {name: np.full(count, np.nan) for name in ("refused", "mean", "spread", "laplacian", "width", "height")}
    for number in range(count):
        path = folder / f"{number:04d}.jpg"
        measured["refused"][number] = float(not _verified(path))
        try:
            with Image.open(path) as image:
                grey = np.asarray(image.convert("L"), dtype=np.float64)
        except OSError:
            continue
        around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        numbers = (grey.mean() / 255, grey.std() / 255, (around - 4 * grey[1:-1, 1:-1]).var(), *grey.shape[::-1])
        for name, value in zip(("mean", "spread", "laplacian", "width", "height"), numbers, strict=True):
            measured[name][number] = value
    return measured


def _verified(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError):
        return False
    return True


def _flagged(measured: dict[str, NDArray[np.float64]], limit: dict[str, float]) -> dict[str, NDArray[np.bool_]]:
    """What lies past each limit; as with the method, one image has one of the first four faults."""

    def far(value: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.abs(value - np.nanmean(value)) > 3 * np.nanstd(value)

    blank = measured["spread"] < limit["blank"]
    dark, bright = (measured["mean"] < limit["dark"]) & ~blank, (measured["mean"] > limit["bright"]) & ~blank
    return {
        "dark": dark,
        "bright": bright,
        "blank": blank,
        "blurred": (measured["laplacian"] < limit["blurred"]) & ~(dark | bright | blank),
        "unreadable": measured["refused"] > 0,
        "odd": far(measured["width"]) | far(measured["height"]),
    }


def _crops(count: int, rng: np.random.Generator) -> list[Image.Image]:
    from sklearn.datasets import load_sample_image

    photos = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    made = []
    for photo in (photos[int(k)] for k in rng.integers(2, size=count)):
        left, top = (int(rng.integers(extent - SIDE + 1)) for extent in photo.size)
        made.append(photo.crop((left, top, left + SIDE, top + SIDE)))
    return made


def _imagenet(count: int, rng: np.random.Generator) -> list[Image.Image]:
    with zipfile.ZipFile(given_file(PHOTOS)) as packed:
        names = [row["file"] for row in csv.DictReader(io.StringIO(packed.read("labels.csv").decode()))]
        chosen = [names[int(k)] for k in rng.permutation(len(names))[:count]]
        return [Image.open(io.BytesIO(packed.read(name))).convert("RGB") for name in chosen]
