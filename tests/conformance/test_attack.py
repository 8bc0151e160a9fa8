"""Every attack: within ball and bounds, repeatable, model and batch left as they were, bad input refused by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stress_fixtures import batch, build, global_state_kept, model, model_kept

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.core.registry import of_kind

ATTACKS = [pytest.param(entry, id=entry.card.name) for entry in of_kind("attack")]


@pytest.mark.parametrize("entry", ATTACKS)
@settings(max_examples=5, deadline=None)
@given(eps=st.sampled_from([0.0, 1 / 255, 0.1, 1.0]), seed=st.integers(0, 3), training=st.booleans())
def test_ball_bounds_and_everything_else_kept(entry, eps, seed, training):
    asked, given_, attack = model(seed), batch(seed=seed), build(entry)
    asked.train(training)
    image, label = given_.image.clone(), given_.label.clone()
    with global_state_kept(), model_kept(asked):
        made = attack(asked, given_, eps=eps, rng=torch_rng(seed))
    assert torch.equal(given_.image, image)
    assert torch.equal(given_.label, label)
    assert (made.image.shape, made.image.dtype) == (image.shape, image.dtype)
    assert not made.image.requires_grad
    assert made.image.min() >= 0
    assert made.image.max() <= 1
    size = (made.image - image).flatten(1).norm(dim=1, p=torch.inf if attack.norm == "linf" else 2)
    assert (size <= eps * (1 + 1e-5) + 1e-6).all()
    for flags in (made.success, made.eligible, made.control_success):
        assert (flags.shape, flags.dtype) == ((len(given_),), torch.bool)
    assert not (made.success & ~made.eligible).any()
    with torch.no_grad():
        asked.eval()
        assert torch.equal(made.eligible, asked(image).argmax(1) == label)
        assert torch.equal(made.success, made.eligible & (asked(made.image).argmax(1) != label))


@pytest.mark.parametrize("entry", ATTACKS)
def test_the_same_generator_gives_the_same_images(entry):
    one, two = (build(entry)(model(), batch(), eps=0.1, rng=torch_rng(5)) for _ in range(2))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.control_success, two.control_success)


@pytest.mark.parametrize("entry", ATTACKS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(entry, norm, mode):
    asked = model()
    with mode():
        made = build(entry, norm=norm)(asked, batch(), eps=0.1, rng=torch_rng(0))
        assert made.linf.max() > 0


@pytest.mark.parametrize("entry", ATTACKS)
def test_it_raises_the_loss_more_than_noise_does(entry):
    asked, given_ = model(), batch(24)
    attack = build(entry, label="predicted")
    made = attack(asked, given_, eps=0.05, rng=torch_rng(0))
    noise = given_.image + attack.random_change(given_.image, 0.05, torch_rng(1))
    with torch.no_grad():
        label = asked(given_.image).argmax(1)
        attacked, noisy = (
            torch.nn.functional.cross_entropy(asked(image), label) for image in (made.image, noise.clamp(0, 1))
        )
    assert attacked > noisy


@pytest.mark.parametrize("entry", ATTACKS)
def test_an_empty_batch_is_no_trouble(entry):
    made = build(entry)(model(), batch(0), eps=0.1, rng=torch_rng(0))
    assert len(made.image) == len(made.success) == 0


@pytest.mark.parametrize("entry", ATTACKS)
def test_bad_input_is_refused_by_name(entry):
    with pytest.raises(BadArgument, match="eps"):
        build(entry)(model(), batch(), eps=8, rng=torch_rng(0))
    with pytest.raises(BadData, match="image"):
        build(entry)(model(), batch().replace(image=batch().image * 255), eps=0.1, rng=torch_rng(0))
    with pytest.raises(BadArgument, match="norm"):
        build(entry, norm="l7")


def test_there_are_attacks():
    assert len(ATTACKS) >= 2
