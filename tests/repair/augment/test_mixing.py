"""Mixup, CutMix and crops against loops over single images."""

import numpy as np
import pytest
import torch

from kintsugi.core.batch import Batch
from kintsugi.core.errors import BadArgument
from kintsugi.repair.augment.crop_flip import CropFlip
from kintsugi.repair.augment.cutmix import CutMix
from kintsugi.repair.augment.inception_crop import InceptionCrop
from kintsugi.repair.augment.mixup import Mixup


@pytest.fixture
def batch():
    image = torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    return Batch(image, torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6), mask=image[:, 0] > 0.5)


def rng(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_mixup_blends_with_the_image_before(batch, alpha):
    shares = []
    for seed in range(200):
        mixed = Mixup(alpha, classes=3)(batch, rng(seed))
        a = float(mixed.target[1, 1])  # the neighbour, sample 0, is of another class
        assert 0.5 <= a <= 1.0
        for i in range(6):
            torch.testing.assert_close(mixed.image[i], a * batch.image[i] + (1 - a) * batch.image[i - 1])
            expected = a * np.eye(3)[batch.label[i]] + (1 - a) * np.eye(3)[batch.label[i - 1]]
            np.testing.assert_allclose(mixed.target[i], expected, atol=1e-6)
        shares.append(a)
    drawn = np.random.default_rng(0).beta(alpha, alpha, 100_000)
    reference = np.maximum(drawn, 1 - drawn)
    assert abs(np.mean(shares) - reference.mean()) < 4 * reference.std() / np.sqrt(200)


def test_keep_leaves_the_labels_to_the_teacher(batch):
    for method in (Mixup(target="keep"), CutMix(target="keep")):
        mixed = method(batch, rng(0))
        assert mixed.target is None
        assert torch.equal(mixed.label, batch.label)
        soft = batch.replace(target=torch.eye(3)[batch.label])
        assert torch.equal(method(soft, rng(0)).target, soft.target)
    with pytest.raises(BadArgument, match="classes"):
        Mixup()(batch, rng(0))


def test_cutmix_pastes_one_box_and_counts_its_pixels(batch):
    sizes = []
    for seed in range(80):
        mixed = CutMix(classes=3)(batch, rng(seed))
        pasted = (mixed.image != batch.image).any(dim=1)
        assert (pasted == pasted[0]).all()
        box = pasted[0].nonzero()
        if len(box):
            low, high = box.min(dim=0).values, box.max(dim=0).values + 1
            assert (high - low).prod() == len(box), "a box"
        rolled = batch.image.roll(1, 0)
        torch.testing.assert_close(mixed.image, torch.where(pasted[:, None], rolled, batch.image))
        left = 1 - len(box) / 80
        assert float(mixed.target[1, 1]) == pytest.approx(left, abs=1e-6)
        assert float(mixed.target[1, 0]) == pytest.approx(1 - left, abs=1e-6)
        sizes.append(len(box) / 80)
    # uncut boxes would take E[1 - U] = 1/2; the border cuts some off
    assert 0.2 < np.mean(sizes) < 0.5


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_crop_flip_is_a_window_of_the_padded_image(batch, fill):
    pad = 2
    seen = set()
    for seed in range(10):
        cut = CropFlip(pad, fill=fill)(batch, rng(seed))
        for i in range(6):
            options = {"mode": "constant"} if fill == "zero" else {"mode": "reflect"}
            wide = np.pad(batch.image[i], ((0, 0), (pad, pad), (pad, pad)), **options)
            masks = np.pad(batch.mask[i], ((pad, pad), (pad, pad)), **options)
            found = [
                (y, x, flip)
                for y in range(2 * pad + 1)
                for x in range(2 * pad + 1)
                for flip in (1, -1)
                if np.array_equal(wide[:, y : y + 8, x : x + 10][..., ::flip], cut.image[i])
            ]
            assert len(found) == 1
            y, x, flip = found[0]
            np.testing.assert_array_equal(masks[y : y + 8, x : x + 10][:, ::flip], cut.mask[i])
            seen.add(found[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))
    assert {flip for _, _, flip in seen} == {1, -1}
    still = CropFlip(0, 0.0)(batch, rng(0))
    assert torch.equal(still.image, batch.image)


def test_inception_crop_of_a_ramp_is_a_ramp():
    """On an image that is linear in x and y a crop is linear again, with slopes that tell its sides."""
    side = 64
    line = torch.linspace(0, 1, side)
    image = torch.stack([line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)])
    batch = Batch(image.expand(200, -1, -1, -1), torch.zeros(200, dtype=torch.int64), torch.arange(200))
    cut = InceptionCrop(area=0.1, aspect=4 / 3, flip=0.5)(batch, rng(0)).image
    inner = cut[:, :, 8:-8, 8:-8]
    across = (inner[:, 0, :, -1] - inner[:, 0, :, 0]).mean(1) * 63 / 47
    down = (inner[:, 1, -1] - inner[:, 1, 0]).mean(1) * 63 / 47
    area, ratio = (across.abs() * down).numpy(), (across.abs() / down).numpy()
    assert area.min() > 0.09
    assert area.max() < 1.01
    assert 0.74 < ratio.min() < 0.85
    assert 1.2 < ratio.max() < 1.35
    assert abs(area.mean() - 0.55) < 0.1
    assert 0.35 < float((across < 0).float().mean()) < 0.65
    whole = InceptionCrop(area=1.0, aspect=1.0, flip=0.0)(batch, rng(0)).image
    torch.testing.assert_close(whole, batch.image, rtol=0, atol=1e-5)
