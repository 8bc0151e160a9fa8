"""Every explainer: maps of the images' size, repeatable, model and images left as they were."""

import pytest
import torch
from stress_fixtures import build, global_state_kept, images, model, model_kept

from kintsugi.core.errors import BadData
from kintsugi.core.registry import of_kind

EXPLAINERS = [pytest.param(entry, id=entry.card.name) for entry in of_kind("explainer")]


@pytest.mark.parametrize("entry", EXPLAINERS)
@pytest.mark.parametrize("training", [True, False])
def test_maps_of_the_right_kind_and_everything_else_kept(entry, training):
    asked, image, target = model(), images(3), torch.tensor([1, 0, 7])
    asked.train(training)
    before = image.clone()
    with global_state_kept(), model_kept(asked):
        one = build(entry)(asked, image, target)
        two = build(entry)(asked, image, target)
    assert (one.shape, one.dtype, one.device) == ((3, 12, 12), image.dtype, image.device)
    assert not one.requires_grad
    assert one.isfinite().all()
    assert torch.equal(one, two)
    assert torch.equal(image, before)


@pytest.mark.parametrize("entry", EXPLAINERS)
def test_a_map_depends_on_image_and_class_and_not_on_its_neighbours(entry):
    asked, image = model(), images(3)
    maps = build(entry)(asked, image, torch.tensor([1, 0, 7]))
    assert not torch.allclose(maps[0], build(entry)(asked, image[:1], torch.tensor([2]))[0])
    assert torch.allclose(maps[0], build(entry)(asked, image[:1], torch.tensor([1]))[0], atol=1e-4)


@pytest.mark.parametrize("entry", EXPLAINERS)
def test_frozen_weights_and_missing_gradients_are_no_trouble(entry):
    asked = model().requires_grad_(False)
    with torch.no_grad():
        first = build(entry)(asked, images(2), torch.tensor([1, 0]))
    with torch.inference_mode():
        second = build(entry)(asked, images(2), torch.tensor([1, 0]))
    assert torch.equal(first, second)
    assert not any(weight.requires_grad for weight in asked.parameters())


@pytest.mark.parametrize("entry", EXPLAINERS)
def test_bad_input_is_refused(entry):
    with pytest.raises(BadData, match="target"):
        build(entry)(model(), images(2), torch.tensor([0, 99]))


def test_there_are_explainers():
    assert len(EXPLAINERS) >= 1
