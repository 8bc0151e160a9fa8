"""Every detector: a score an image, repeatable, backbone and images left as they were, no score before fitting."""

import pytest
import torch
from stress_fixtures import build, digits, global_state_kept, images, model, model_kept

from kintsugi.core.errors import KintsugiError
from kintsugi.core.randomness import numpy_rng
from kintsugi.core.registry import of_kind

DETECTORS = [pytest.param(entry, id=entry.card.name) for entry in of_kind("detector")]


@pytest.mark.parametrize("entry", DETECTORS)
def test_one_finite_score_an_image_and_everything_else_kept(entry):
    backbone, data, image = model(), digits(), images(5, side=8)
    before = image.clone()
    backbone.train()
    with global_state_kept(), model_kept(backbone):
        options = {"backbone": backbone} if "backbone" in _needs(entry) else {}
        made = build(entry, **options).fit(data, numpy_rng(0))
        score, again = made.score(image), made.score(image)
    assert (score.shape, score.device) == ((5,), image.device)
    assert score.is_floating_point()
    assert score.isfinite().all()
    assert torch.equal(score, again)
    assert torch.equal(image, before)
    assert not score.requires_grad


@pytest.mark.parametrize("entry", DETECTORS)
def test_the_same_generator_gives_the_same_scores_and_neighbours_do_not_matter(entry):
    one, two = (build(entry).fit(digits(), numpy_rng(1)).score(images(5, side=8)) for _ in range(2))
    assert torch.equal(one, two)
    alone = build(entry).fit(digits(), numpy_rng(1)).score(images(5, side=8)[2:3])
    assert torch.allclose(one[2:3], alone, rtol=1e-3)


@pytest.mark.parametrize("entry", DETECTORS)
def test_what_it_was_fitted_on_is_less_odd_than_noise(entry):
    data = digits(60)
    made = build(entry).fit(data, numpy_rng(0))
    (_, pixels), *_ = data.stream(60)
    normal = made.score(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    odd = made.score(images(40, side=8))
    assert odd.median() > normal.median()


@pytest.mark.parametrize("entry", DETECTORS)
def test_there_is_no_score_before_fitting(entry):
    with pytest.raises(KintsugiError, match="fit"):
        build(entry).score(images(1))


def _needs(entry):
    from kintsugi.core.registry import parameters

    return parameters(entry.load())


def test_there_are_detectors():
    assert len(DETECTORS) >= 1
