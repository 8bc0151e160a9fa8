"""Every augmentation keeps the contract of its kind."""

import pytest
import torch
from training_methods import GlobalStateUntouched, batch, check_bad_parameters_are_named, ready, same, snapshot

from kintsugi.core.registry import of_kind

ENTRIES = of_kind("augment")


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.card.name)
def entry(request):
    return request.param


def rng(seed):
    return torch.Generator().manual_seed(seed)


def test_there_are_augmentations():
    assert {"mixup", "cutmix", "crop_flip", "inception_crop"} <= {entry.card.name for entry in ENTRIES}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_range_are_kept(entry, dtype):
    given = batch(dtype)
    before = snapshot(given)
    with GlobalStateUntouched():
        made = ready(entry)(given, rng(0))
    assert same(before, snapshot(given)), "the given batch is untouched"
    assert made.image.shape == given.image.shape
    assert made.image.dtype == dtype
    assert made.image.device == given.image.device
    assert float(made.image.min()) >= 0.0
    assert float(made.image.max()) <= 1.0
    assert not torch.equal(made.image, given.image)
    assert torch.equal(made.index, given.index)
    torch.testing.assert_close(made.target.sum(dim=1), torch.ones(len(given), dtype=made.target.dtype))
    assert made.mask.shape == given.mask.shape
    assert made.mask.dtype == torch.bool


def test_same_stream_same_batch(entry):
    one, again, other = (snapshot(ready(entry)(batch(), rng(seed))) for seed in (3, 3, 4))
    assert same(one, again)
    assert not same(one, other)


def test_one_image_alone(entry):
    given = batch()
    single = type(given)(given.image[:1], given.label[:1], given.index[:1])
    assert ready(entry)(single, rng(0)).image.shape == (1, 3, 8, 8)


def test_bad_parameters_are_refused_by_name(entry):
    assert check_bad_parameters_are_named(entry) > 0
