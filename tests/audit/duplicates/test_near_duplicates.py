"""Planted copies of real pictures are found, look-alikes are not; the published cut with its trap mended."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.audit.duplicates import alike, cut, picture
from kintsugi.audit.duplicates.near_duplicates import NearDuplicates
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.compose.plant import near_duplicates
from kintsugi.data.imageset import ImageSet
from kintsugi.ops.neighbours import nearest
from kintsugi.prove.trials.near_duplicates import SAME


def photos(n=60, side=30, seed=0):
    """Crops of two photographs that do not overlap, plain sky left out, uint8 [n, side, side, 3]."""
    from sklearn.datasets import load_sample_images

    tiles = [
        photo[top : top + 2 * side, left : left + 2 * side]
        for photo in load_sample_images().images
        for top in range(0, 427 - 2 * side, 2 * side)
        for left in range(0, 640 - 2 * side, 2 * side)
    ]
    tiles = [tile for tile in tiles if tile.std() > 30]
    small = [np.asarray(Image.fromarray(tile).resize((side, side), Image.Resampling.BOX)) for tile in tiles]
    return np.stack([small[i] for i in np.random.default_rng(seed).permutation(len(small))[:n]])


def pairs(findings, *, flagged=True):
    return {tuple(sorted(row.ids)) for row in findings if row.flagged or not flagged}


def average_precision(findings, true):
    true = {tuple(sorted(pair)) for pair in true}
    hit = np.array([tuple(sorted(row.ids)) in true for row in findings])
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit].sum() / len(true))


def test_changed_copies_of_digits_on_photographs_are_found():
    base = DigitsOnPhotos().mixed(160, 0.05, "pool", 1)
    data, true = near_duplicates(base, 12, np.random.default_rng(1))
    findings = NearDuplicates()(data, None, np.random.default_rng(0))
    planted = {tuple(sorted(pair)) for pair in true}
    assert planted <= pairs(findings)
    # Sixty handwritten digits serve a class, so that some come twice on nearly the same crop: no plant, no look-alike.
    assert len(findings.flagged) < 30
    digit = dict(zip(data.ids, data.column("digit"), strict=True))
    told = [row for row in findings if tuple(sorted(row.ids)) in planted or len({digit[name] for name in row.ids}) > 1]
    assert average_precision(told, true) > 0.95
    assert pairs(told) == planted


def _resized(image, box):
    return np.asarray(Image.fromarray(image).resize((30, 30), Image.Resampling.BILINEAR, box=box))


CHANGES = {
    "mirrored": lambda x, rng: x[:, ::-1],
    "darker": lambda x, rng: (x * 0.75).astype(np.uint8),
    "noisy": lambda x, rng: np.clip(x + rng.normal(0, 8, x.shape), 0, 255).astype(np.uint8),
    "cropped": lambda x, rng: _resized(x, (2, 1, 29, 28)),
    "shifted": lambda x, rng: np.pad(x, ((2, 0), (0, 1), (0, 0)), mode="edge")[:30, 1:],
}


@pytest.fixture(scope="module")
def altered():
    rng, images = np.random.default_rng(3), photos()
    made, true = list(images), {}
    for number, (name, change) in enumerate(CHANGES.items()):
        for i in range(3 * number, 3 * number + 3):
            true[f"{i:06d}", f"{len(made):06d}"] = name
            made.append(change(images[i], rng))
    data = ImageSet.from_arrays(np.stack(made), np.zeros(len(made), int))
    return true, NearDuplicates()(data, None, np.random.default_rng(0))


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_seen_through(altered, name):
    true, findings = altered
    assert {pair for pair, change in true.items() if change == name} <= pairs(findings)


def test_hardly_anything_else_is_flagged_and_the_evidence_says_how(altered):
    true, findings = altered
    assert len(pairs(findings) - set(true)) <= 2  # a tenth of those flagged may be false
    found = {pair: row.evidence["mirrored"] for row in findings if (pair := tuple(sorted(row.ids))) in true}
    assert found == {pair: change == "mirrored" for pair, change in true.items()}
    low, high = findings.summary.interval
    assert low <= len(true) <= high


def test_identical_pixels_leaks_and_conflicts():
    images = photos(30)
    images[10], images[11], images[21], images[22] = images[0], images[0], images[1], images[2]
    label, split = np.arange(30) % 2, ["train"] * 20 + ["test"] * 10
    label[[10, 11]] = [0, 1]
    data = ImageSet.from_arrays(images, label, split=split)
    rows = [row for row in NearDuplicates()(data, None, np.random.default_rng(0)) if row.check == "exact_duplicate"]
    told = {row.ids: row.suggestion for row in rows}
    assert told == {
        ("000000", "000010"): "drop",
        ("000000", "000011"): "review",
        ("000001", "000021"): "split",
        ("000002", "000022"): "split",
    }
    assert all(row.score == 1.0 and row.flagged for row in rows)
    assert "splits train and test" in next(row.why for row in rows if row.suggestion == "split")


def test_many_copies_of_one_image_make_a_line_and_not_a_square():
    images = np.concatenate([photos(20), np.repeat(photos(1, seed=5), 50, axis=0)])
    findings = NearDuplicates()(ImageSet.from_arrays(images, np.zeros(70, int)), None, np.random.default_rng(0))
    assert sum(row.check == "exact_duplicate" for row in findings) in (49, 50)


def test_images_of_mixed_sizes_are_compared():
    images = photos(20)
    large = [np.asarray(Image.fromarray(image).resize((60, 50), Image.Resampling.BICUBIC)) for image in images[:2]]

    class Mixed:
        fingerprint = "mixed"

        def __len__(self):
            return 22

        def read(self, row):
            return images[row] if row < 20 else large[row - 20]

    data = ImageSet.from_arrays(np.zeros((22, 2, 2), np.uint8), np.zeros(22, int))
    data = ImageSet(Mixed(), data.table, data.classes)
    rows = NearDuplicates()(data, None, np.random.default_rng(0)).rows
    assert {rows[0].ids, rows[1].ids} == {("000000", "000020"), ("000001", "000021")}
    assert rows[1].flagged


def test_features_are_compared_by_cosine():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 16))
    features[100:105] = 3 * features[:5] + 0.01 * rng.standard_normal((5, 16))
    data = ImageSet.from_arrays(rng.integers(0, 255, (200, 4, 4), dtype=np.uint8), np.zeros(200, int))
    outputs = Outputs(data.ids, np.ones((200, 1)), features)
    findings = NearDuplicates(space="features")(data, outputs, np.random.default_rng(0))
    assert pairs(findings) >= {(f"{i:06d}", f"{100 + i:06d}") for i in range(5)}
    assert len(findings.flagged) <= 7
    one = findings.rows[0]
    a, b = (features[int(name)] for name in one.ids)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert one.evidence["distance"] == pytest.approx((1 - cosine) / 2, abs=1e-6)


def test_an_encoder_is_asked_and_calibrates_itself():
    class Thumb:
        name = fingerprint = "thumb"

        def __call__(self, image):
            small = torch.nn.functional.adaptive_avg_pool2d(image, 8).flatten(1)
            return small - small.mean(1, keepdim=True)

    images = photos(60)
    images[40:45] = np.clip(images[:5].astype(int) + np.random.default_rng(0).integers(-6, 7, images[:5].shape), 0, 255)
    data = ImageSet.from_arrays(images, np.zeros(60, int))
    findings = NearDuplicates(Thumb())(data, None, np.random.default_rng(0))
    assert {(f"{i:06d}", f"{40 + i:06d}") for i in range(5)} <= pairs(findings)
    assert "planted copies" in findings.summary.notes[0]


def test_an_encoder_sees_through_a_turn_and_harms_nothing_where_it_knows_nothing():
    class Sum:
        name = fingerprint = "sum"

        def __init__(self, known):
            self.known = known

        def __call__(self, image):
            if not self.known:
                return torch.ones(len(image), 8)
            return torch.nn.functional.adaptive_avg_pool2d(image, 8).flatten(1) - 0.5

    images = photos(40)
    images[30:33] = np.rot90(images[:3], 1, (1, 2))
    images[33] = np.clip(images[3] * 0.8, 0, 255)
    data = ImageSet.from_arrays(images, np.zeros(40, int))
    turned = {(f"{i:06d}", f"{30 + i:06d}") for i in range(3)}
    by_encoder, plain, blind = (
        NearDuplicates(encoder)(data, None, np.random.default_rng(0)) for encoder in (Sum(True), None, Sum(False))
    )
    assert turned <= pairs(by_encoder)
    assert not turned & pairs(plain)
    assert pairs(plain) == pairs(blind)
    assert ("000003", "000033") in pairs(by_encoder) & pairs(blind)


class Thumb:
    """Sixty-four places and their colours, dark ones negative."""

    name = fingerprint = "thumb"

    def __call__(self, image):
        return torch.nn.functional.adaptive_avg_pool2d(image, 8).flatten(1) - 0.5


def several_copies():
    """Photographs, the first of which has three copies: much darker, much darker and moved, and hardly noisy."""
    images = photos(63).astype(np.float64)
    images[60], images[61] = 0.4 * images[0], 0.4 * np.roll(images[0], 2, 1)
    images[62] = images[0] + np.random.default_rng(0).normal(0, 12, images[0].shape)
    images = np.clip(images, 0, 255).astype(np.uint8)
    return images, ImageSet.from_arrays(images, np.zeros(len(images), int))


@pytest.mark.parametrize("given", ["encoder", "features"])
def test_the_copy_that_was_changed_least_comes_first_where_asked(given):
    images, data = several_copies()
    with torch.no_grad():
        vectors = Thumb()(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()
    encoder = Thumb() if given == "encoder" else None
    outputs = None if encoder else Outputs(data.ids, np.ones((len(data), 1)), vectors)
    surest, nearest_ = (
        NearDuplicates(encoder, first=first)(data, outputs, np.random.default_rng(0)) for first in ("surest", "nearest")
    )
    length = np.linalg.norm(vectors, axis=1)
    by_nearness = sorted((60, 61, 62), key=lambda copy: -vectors[0] @ vectors[copy] / length[copy])
    assert by_nearness[0] == 62
    assert [b for a, b in ordered(nearest_) if a == 0][:3] == by_nearness
    assert [b for a, b in ordered(surest) if a == 0][:3] != by_nearness
    assert [row.score for row in nearest_] == [row.score for row in surest]
    assert len(nearest_.flagged) == len(surest.flagged) >= 3
    assert nearest_.summary == surest.summary
    assert {tuple(row.ids) for row in nearest_} == {tuple(row.ids) for row in surest}


def ordered(findings):
    return [tuple(int(name) for name in row.ids) for row in findings]


def test_without_vectors_none_is_nearest():
    _, data = several_copies()
    with pytest.raises(BadArgument, match="first='nearest' needs features: give outputs with features, or an encoder"):
        NearDuplicates(first="nearest")(data, None, np.random.default_rng(0))
    for space in ("pixels", "features"):
        with pytest.raises(BadArgument, match=f"first='nearest' is not allowed: give surest with space='{space}'"):
            NearDuplicates(space=space, first="nearest")
    with pytest.raises(BadArgument, match="one of surest, nearest"):
        NearDuplicates(first="best")
    for few in (0, 1, 2):
        part, features = data.select(range(few)), np.ones((few, 3))
        findings = NearDuplicates(first="nearest")(
            part, Outputs(part.ids, np.ones((few, 1)), features), np.random.default_rng(0)
        )
        assert len(findings) == few // 2


def test_look_alikes_as_similar_as_copies_cannot_be_told():
    rng = np.random.default_rng(0)
    images = np.clip(photos(1)[0] + rng.normal(0, 6, (120, 30, 30, 3)), 0, 255).astype(np.uint8)
    images[1] = images[0]
    findings = NearDuplicates()(ImageSet.from_arrays(images, np.zeros(120, int)), None, np.random.default_rng(0))
    assert "cannot tell" in findings.summary.notes[0]
    assert (findings.summary.threshold, findings.summary.count) == (None, None)
    assert [row.check for row in findings.flagged] == ["exact_duplicate"]


def test_the_tail_is_that_of_the_distribution_drawn_from():
    rng = np.random.default_rng(0)
    look = rng.exponential(0.1, 20_000)
    start, scale, widest = cut.tail(look)
    assert start == pytest.approx(0.1 * np.log(20), rel=0.05)
    assert scale == pytest.approx(0.1, rel=0.1)
    assert scale < widest < 1.2 * scale
    value = np.concatenate([rng.exponential(0.1, 20_000), rng.normal(2.5, 0.2, 60)])
    made = cut.calibrated(value, look[:1000], 20_000, rng.normal(2.4, 0.3, 200), 0.1)
    false = int((value[:20_000] >= made.threshold).sum())
    assert false <= 0.1 * (false + 60)
    assert made.recall == 1.0


def test_the_tail_does_not_see_the_copies_that_fill_its_end():
    rng = np.random.default_rng(0)
    look = np.concatenate([rng.exponential(0.1, 950), rng.normal(2.5, 0.2, 50)])
    assert 0.1 < cut.tail(look, 0.8)[1] < 0.2  # log 3 / log 2 of the true one: half of the excess is not theirs
    assert cut.tail(look, 0.95)[1] > 1
    value = np.sort(look)[-300:]
    made = cut.calibrated(value, look, 1000, rng.normal(2.6, 0.3, 200), 0.1, 0.8)
    assert 50 <= (value >= made.threshold).sum() <= 55  # a tenth of those flagged may be false


def test_edges_agree_as_their_definition_says():
    rng = np.random.default_rng(0)
    images = photos(8, 32)
    a, b = images[:4], np.roll(images[:4], (1, -3), (1, 2))
    b[2:] = rng.integers(0, 256, b[2:].shape)
    best = np.full(4, -1.0)
    for pair in range(4):
        one, other = (np.pad(each.mean(2) / 255, pad + 1, mode="edge") for each, pad in ((a[pair], 0), (b[pair], 3)))
        still = _histograms(one)
        for down in picture.SHIFTS:
            for right in picture.SHIFTS:
                moved = _histograms(other[3 + down : 3 + down + 34, 3 + right : 3 + right + 34])
                best[pair] = max(best[pair], np.corrcoef(still, moved)[0, 1])
    assert picture.edges_agree(picture.descriptor(a), b).numpy() == pytest.approx(best, abs=1e-3)


def _histograms(grey):
    """Of a picture with one pixel more on each side."""
    dx, dy = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    apart = np.abs(np.arctan2(dy, dx) * 4 / np.pi % 8 - np.arange(8)[:, None, None])
    share = np.maximum(0.0, 1 - np.minimum(apart, 8 - apart)) * np.hypot(dx, dy)
    made = share.reshape(8, 8, 4, 8, 4).mean((2, 4))
    around = np.array(
        [[np.mean((made**2).sum(0)[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]) for x in range(8)] for y in range(8)]
    )
    return np.minimum(made / (np.sqrt(around) + picture.FAINT), picture.STEEP).ravel()


def test_a_mirrored_picture_has_the_mirrored_descriptor():
    images = photos(60, 32)
    found = picture.mirrored(picture.descriptor(images))
    assert found == pytest.approx(picture.descriptor(np.ascontiguousarray(images[:, :, ::-1])), abs=1e-5)


def test_both_ways_are_searched_as_each_alone():
    plain = picture.descriptor(
        np.concatenate([photos(60, 32), photos(60, 32)[:20, :, ::-1], photos(60, 32)[:20, ::-1]])
    )
    mirror = picture.mirrored(plain)
    found = alike._both_ways(plain, mirror, 3)
    for (near, rows), (near_too, rows_too) in zip(found, (nearest(plain, 3), nearest(plain, 4, mirror)), strict=True):
        assert near == pytest.approx(near_too, abs=1e-5)
        assert (rows == rows_too).mean() > 0.99


def test_no_more_pairs_are_looked_at_once_no_copies_come(monkeypatch):
    monkeypatch.setattr(alike, "LEAST", 20)
    images = photos(100, 32)
    copied = np.clip(images[:12] * 0.9 + np.random.default_rng(0).normal(0, 4, images[:12].shape), 0, 255)
    images = np.concatenate([images, copied.astype(np.uint8)])
    near = alike.Neighbourhood(images, 5, None, np.zeros((len(images), 0, 1), np.float16), np.arange(len(images)))
    sampled = np.arange(0, len(near.pairs), 10)
    value, _ = alike.looked(near, images, sampled, 200)
    looked_at = np.isfinite(value)
    assert len(sampled) + 20 <= looked_at.sum() < len(sampled) + 100
    pairs = [tuple(pair) for pair in near.pairs[looked_at, :2].tolist()]
    assert {(i, len(images) - 12 + i) for i in range(12)} <= set(pairs)


def test_one_image_and_none_and_all_the_same():
    for images in (photos(1), photos(1)[:0], np.repeat(photos(1), 30, axis=0), np.zeros((30, 8, 8, 3), np.uint8)):
        data = ImageSet.from_arrays(images, np.zeros(len(images), int), ["any"])
        findings = NearDuplicates()(data, None, np.random.default_rng(0))
        assert len(findings) == max(0, len(images) - 1)
        assert all(row.check == "exact_duplicate" for row in findings)


def test_the_published_cut_by_its_formula_and_its_trap():
    rng = np.random.default_rng(0)
    logit = rng.logistic(2.0, 0.5, 400_000)
    distance = 1 / (1 + np.exp(-logit))
    found = cut.selfclean(distance, 1000, alpha=0.1, q=0.05)
    tail = 0.05 * 0.1**2 * 1000 / (1000 * 999 / 2)
    wanted = 2.0 + 0.5 * np.log(tail / (1 - tail))  # the quantile of the very distribution drawn from
    assert np.log((1 - found.threshold) / (1 + found.threshold)) == pytest.approx(wanted, abs=0.15)
    features = rng.standard_normal((60, 8))
    features[30] = features[0]  # distance 0: dropped by the published code, flagged here
    data = ImageSet.from_arrays(rng.integers(0, 255, (60, 4, 4), dtype=np.uint8), np.zeros(60, int))
    method = NearDuplicates(space="features", threshold="selfclean")
    flagged = pairs(method(data, Outputs(data.ids, np.ones((60, 1)), features), np.random.default_rng(0)))
    assert ("000000", "000030") in flagged


def test_alignment_recovers_the_shift():
    wide = np.asarray(Image.fromarray(photos(1)[0]).resize((48, 48), Image.Resampling.BICUBIC))
    a, b = picture.bands(wide[None, 8:40, 8:40]), picture.bands(wide[None, 5:37, 10:42])
    found, change = picture.agreement(a, b, 12)
    assert float(found[0]) > 0.97
    assert (change[0, :2] * 16).numpy() == pytest.approx([-2, 3], abs=0.3)


def test_too_few_images_and_bad_arguments():
    data = ImageSet.from_arrays(photos(3), [0, 0, 0])
    findings = NearDuplicates()(data, None, np.random.default_rng(0))
    assert findings.summary.count is None
    assert not findings.flagged
    with pytest.raises(BadArgument, match="k=0"):
        NearDuplicates(k=0)
    with pytest.raises(BadArgument, match="threshold=3"):
        NearDuplicates(threshold=3)
    with pytest.raises(BadArgument, match="selfclean"):
        NearDuplicates(threshold="selfclean")
    with pytest.raises(BadArgument, match="needs features"):
        NearDuplicates(space="features")(data, None, np.random.default_rng(0))
    other = Outputs(["a"], np.ones((1, 1)), np.ones((1, 2)))
    with pytest.raises(BadData, match="no outputs for 3 of 3"):
        NearDuplicates(space="features")(data, other, np.random.default_rng(0))


@pytest.mark.data
@pytest.mark.slow
def test_ciphair_pairs_across_the_splits_of_cifar():
    if not os.environ.get("KINTSUGI_DATA"):
        pytest.skip("KINTSUGI_DATA is not set")
    held = np.load(Path(os.environ["KINTSUGI_DATA"], "cifar10_10k_train_2k_test_with_cifar10n.npz"))
    listed = held["duplicate_pairs_test_train_judgment"]
    count, partner = len(held["x_test"]), dict(listed[:, :2].tolist())
    images = np.concatenate([held["x_test"], held["x_train"]])
    split = ["test"] * count + ["train"] * len(held["x_train"])
    data = ImageSet.from_arrays(images, np.zeros(len(images), int), split=split)
    score, near = np.full(count, -1.0), {}
    for row in NearDuplicates()(data, None, np.random.default_rng(0)):
        a, b = sorted(int(name) for name in row.ids)
        if a < count <= b:
            score[a] = max(score[a], row.score)
            near.setdefault(a, []).append(b - count)
    true = np.isin(np.arange(count), list(partner))
    order = np.argsort(-score, kind="stable")
    precision = np.cumsum(true[order]) / np.arange(1, count + 1)
    assert precision[true[order]].mean() >= 0.9
    assert np.mean([other in near.get(row, [])[:3] for row, other in partner.items()]) >= 0.95
    first = {row: near.get(row, [-1])[0] for row in partner}
    group = {row: number for number, rows in enumerate(SAME) for row in rows}
    right = [first[row] == other for row, other in partner.items()]
    same = [group.get(first[row], -1) == group.get(other, -2) for row, other in partner.items()]
    assert np.mean(right) >= 0.88  # the list names one of several training images that show the picture
    assert np.mean(np.logical_or(right, same)) >= 0.95
    unseen = np.random.default_rng(0).permutation(count) % 2 == 1  # nothing was chosen on these
    ranked = true[unseen][np.argsort(-score[unseen], kind="stable")]
    assert (np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean() >= 0.88
