"""Evidence for `snip`: duplicates decided from codes, beside principal components and a fixed threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.audit.duplicates.snip import Snip
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose.plant import near_duplicates
from kintsugi.data.given import given_file
from kintsugi.data.imageset import ImageSet
from kintsugi.metrics.average_precision import average_precision
from kintsugi.ops.codes import ProductCodes
from kintsugi.ops.neighbours import nearest
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Claim
from kintsugi.training.feature_compressor import FeatureCompressor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.run import Run

FASHION, WEIGHTS = "fashion_mnist_full_60k_10k.npz", "imagenet_mobilenet_v2_torchvision_tfpad_weights.npz"
DIGITS, GARMENTS = "digits, pixels", "garments, features"
AP, F1 = "average precision", "F1"
METHODS: dict[str, Literal["snip", "pca", "none"]] = {"SNIP": "snip", "PCA": "pca", "raw": "none"}
OTHERS = ("PCA, adaptive", "PCA, fixed", "raw, adaptive", "raw, fixed")
HINDSIGHT, PROMISE = "best fixed ADC in hindsight", "0.9"
SIZE = {DIGITS: 16, GARMENTS: 64}
TUNED = (
    "The compressor's batches, learning rate and temperature, and the auditor's slack and offset, were chosen on "
    "digits of seeds 100 to 102."
)
DIGITS_DATA = (
    "all 1797 of scikit-learn's handwritten digits as 64 pixels (to 16 numbers) and 400 planted copies with 10% gain "
    f"and noise of 0.02. {TUNED}"
)
GARMENTS_DATA = (
    "1500 garments of Fashion-MNIST, drawn anew for each seed, as features of a MobileNetV2 that has not seen them "
    f"(1280 to 64 numbers), and 300 planted copies with 10% gain and noise of 0.02. {TUNED}"
)


def trial(setting: str = "") -> Seeded:
    """Planted copies among the embedded digits, or ``fashion``: among garments as a net sees them."""
    one_of("setting", setting, ("", "fashion"))
    row = GARMENTS if setting else DIGITS
    return Seeded(
        "snip",
        "snip: average precision over all pairs of the decision from codes, and the pairs in the groups of the auditor",
        (
            Claim(row, AP, "SNIP, adaptive", ("SNIP, fixed",), margin=0.1),
            Claim(row, AP, "SNIP, adaptive", OTHERS, margin=0.1),
            Claim(row, "pair precision", "snip", (PROMISE,)),
            Claim(row, F1, "snip", (HINDSIGHT,), margin=0.1),
        ),
        _measure_garments if setting else _measure_digits,
        GARMENTS_DATA if setting else DIGITS_DATA,
        settings={
            "codes": "4 sub-vectors of 64 centroids; compressors and codebooks are fitted to the originals alone",
            "raw": "vectors of length 1 as they are",
            "in hindsight": "the threshold of best F1 over all pairs, of codes as the auditor's own",
            "auditor": "its defaults, on all images",
        },
    )


def _measure_digits(seed: int, run: Run) -> Measured:
    clean = ImageSet.concat(list(digits(seed)))
    data, planted = near_duplicates(clean, 400, numpy_rng(seed, "plant"))
    yield from _arms(DIGITS, data, planted, _pixels(data), len(clean), seed)


def _measure_garments(seed: int, run: Run) -> Measured:
    clean = _garments(seed)
    data, planted = near_duplicates(clean, 300, numpy_rng(seed, "plant"))
    yield from _arms(GARMENTS, data, planted, _encoded(data), len(clean), seed)


def _arms(
    row: str, data: ImageSet, planted: list[tuple[str, str]], features: NDArray[Any], clean: int, seed: int
) -> Measured:
    place = {name: number for number, name in enumerate(data.ids)}
    pairs = np.stack(np.triu_indices(len(data), 1), axis=1)
    true = np.zeros((len(data), len(data)), bool)
    for one, copy in planted:
        true[place[one], place[copy]] = True
    truth = true[pairs[:, 0], pairs[:, 1]]
    for arm, method in METHODS.items():
        how = FeatureCompressor(method, SIZE[row], hidden=256)
        short = how.fit(features[:clean], numpy_rng(seed, arm)).transform(features)
        codes = ProductCodes(4, 64).fit(short[:clean], numpy_rng(seed, arm, "codes"))
        fixed, adaptive = _scores(codes, short, pairs)
        yield row, f"{arm}, fixed", {AP: average_precision(fixed, truth)}
        yield row, f"{arm}, adaptive", {AP: average_precision(adaptive, truth)}
    prob = np.full((len(data), len(data.classes)), 1 / len(data.classes))
    findings = Snip()(data, Outputs(data.ids, prob, features), numpy_rng(seed, "audit"))
    listed = {tuple(sorted(place[name] for name in finding.ids)) for finding in findings.flagged}
    hits = sum(bool(true[pair]) for pair in listed)
    score = {
        "pair precision": hits / max(1, len(listed)),
        "pair recall": hits / len(planted),
        "pairs": float(len(listed)),
    }
    yield row, "snip", {**score, F1: 2 * hits / (len(listed) + len(planted))}
    yield row, HINDSIGHT, {F1: _best_f1(_scores(*_as_the_auditor(features, seed), pairs)[0], truth)}
    yield row, PROMISE, {"pair precision": float(PROMISE)}
    yield row, "neighbours", {"copies that are nearest": _nearest_copies(features, planted, place)}


def _as_the_auditor(features: NDArray[Any], seed: int) -> tuple[ProductCodes, NDArray[np.float32]]:
    """Codes of eight bytes of SNIP's vectors, fitted to all images, as the auditor's defaults are on so many."""
    short = FeatureCompressor("snip", 64).fit(features, numpy_rng(seed, "hindsight")).transform(features)
    return ProductCodes(8, 64).fit(short, numpy_rng(seed, "hindsight codes")), short


def _scores(
    codes: ProductCodes, short: NDArray[np.float32], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Higher is more alike: the larger ADC of both directions, and the larger one relative to each image's own."""
    code = codes.encode(short)
    adc = codes.table(short)[:, np.arange(codes.parts)[:, None], code.T].sum(axis=1)
    ratio = adc / (codes.distance(short, code)[:, None] + 1e-9)
    fixed, adaptive = (np.maximum(each, each.T)[pairs[:, 0], pairs[:, 1]].astype(float) for each in (adc, ratio))
    return -fixed, -adaptive


def _best_f1(score: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """F1 of the best threshold there is."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(truth, score)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def _nearest_copies(features: NDArray[Any], planted: list[tuple[str, str]], place: dict[str, int]) -> float:
    """How hard the data are: the share of copies whose original is the most alike of all, by whole features."""
    near = nearest(features, 1)[1][:, 0]
    return float(np.mean([near[place[copy]] == place[one] for one, copy in planted]))


def _garments(seed: int) -> ImageSet:
    with np.load(given_file(FASHION)) as held:
        rows = numpy_rng(seed, "garments").permutation(len(held["x_train"]))[:1500]
        return ImageSet.from_arrays(held["x_train"][rows], held["y_train"][rows])


def _pixels(data: ImageSet) -> NDArray[np.float64]:
    return np.concatenate([image for _, image in data.stream(len(data))])[..., 0].reshape(len(data), -1) / 255.0


def _encoded(data: ImageSet) -> NDArray[np.float32]:
    from kintsugi.models.cache import embed
    from kintsugi.models.encoder import ModelEncoder
    from kintsugi.models.open import open_model
    from kintsugi.models.preprocess import Preprocess

    half = (0.5, 0.5, 0.5)
    own = Preprocess(half, half, (64, 64), resize=64)
    model: Any = open_model("torchvision:mobilenet_v2", weights=given_file(WEIGHTS), preprocess=own)
    encoder: Any = ModelEncoder(model)
    return embed(encoder, data, batch_size=100)
