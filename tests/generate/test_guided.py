"""Guided generation on a toy: it climbs, keeps the best, keeps norms, leaves models alone and resumes."""

from itertools import pairwise

import pytest
import torch

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.core.run import Run
from kintsugi.generate.cutouts import Cutouts
from kintsugi.generate.guided import Guided, guided_optimise
from kintsugi.models.frozen import frozen

LABEL = torch.tensor([0, 1] * 8)
FAST = {"lr": {"latent": 0.1, "condition": 0.03}, "cutouts": Cutouts(2, noise=0.02), "last_weights": (1 / 3, 2 / 3)}


def test_reaches_higher_than_best_of_n_at_equal_decodings(setting):
    generator, objective = setting
    steps = 20
    made = guided_optimise(generator, LABEL, objective, steps=steps, **FAST)
    with frozen(*objective.models()), torch.no_grad():
        best = torch.stack(
            [objective(generator.sample(len(LABEL), LABEL, torch_rng(1, k)), LABEL) for k in range(steps + 1)]
        ).amax(0)
    assert made.score.amax(1).mean() > best.mean() + 0.05
    assert made.teacher.mean() > 0.9
    assert made.student.mean() < 0.1


def test_kept_iterate_is_the_best_of_the_trajectory(setting):
    generator, objective = setting
    made = guided_optimise(
        generator, LABEL, objective, steps=6, lr={"latent": 3.0}, cutouts=Cutouts(1), last_weights=(1,)
    )  # fmt: skip - a step far too large, so that the last is often not the best
    with frozen(*objective.models()):
        again = objective(made.image, LABEL)
    torch.testing.assert_close(again, made.score.amax(1))
    assert torch.equal(made.score.argmax(1), made.step)
    assert (made.score.amax(1) >= made.score[:, 0]).all()
    assert made.score.shape == (16, 7)
    last = guided_optimise(generator, LABEL, objective, steps=6, lr={"latent": 3.0}, cutouts=Cutouts(1),
                           last_weights=(1,), keep="last")  # fmt: skip
    assert (last.step == 6).all()
    assert last.score[:, -1].mean() < made.score.amax(1).mean()


def test_no_steps_is_the_unguided_start(setting):
    generator, objective = setting
    made = guided_optimise(generator, LABEL, objective, steps=0, **FAST, rng=3)
    assert torch.equal(made.image, generator.sample(16, LABEL, torch_rng(3, "guide", 0)))
    assert torch.equal(made.image, made.start)


def test_norms_are_kept_and_fixed_tensors_stay(setting):
    generator, objective = setting
    states = []
    keep = generator.init_state
    generator.init_state = lambda *args: states.append(keep(*args)) or states[-1]
    guided_optimise(generator, LABEL, objective, steps=3, lr={"latent": 0.5}, cutouts=Cutouts(1))
    torch.testing.assert_close(states[0]["latent"].norm(dim=1), states[0]["latent_norm"])
    assert not states[0]["condition"].any()
    guided_optimise(generator, LABEL, objective, steps=3, lr={"latent": 0.5}, cutouts=Cutouts(1), project=False)
    assert not torch.allclose(states[1]["latent"].norm(dim=1), states[1]["latent_norm"], rtol=1e-3)


def test_models_stay_as_they_were(setting):
    generator, objective = setting
    teacher = objective.teacher
    teacher.train()
    teacher.norm.eval()
    teacher.norm.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    state = torch.get_rng_state()
    guided_optimise(generator, LABEL, objective, steps=2, **FAST)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert teacher.training
    assert not teacher.norm.training
    assert not teacher.norm.weight.requires_grad
    assert teacher.weight.requires_grad
    assert teacher.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_starts_from_real_images(setting):
    generator, objective = setting
    image = generator.sample(16, LABEL, torch_rng(9))
    made = guided_optimise(generator, LABEL, objective, steps=2, image=image, **FAST)
    torch.testing.assert_close(made.start, image, atol=1e-4, rtol=1e-4)


def test_cosine_schedule_moves_less_at_the_end(setting):
    generator, objective = setting
    path = {}
    decode = generator.decode
    for name in (None, "cosine"):
        seen = path[name] = []
        generator.decode = lambda state, *args, seen=seen, **kw: (
            seen.append(state["condition"].detach().clone()) or decode(state, *args, **kw)
        )
        guided_optimise(generator, LABEL, objective, steps=10, schedule=name, **FAST)
    moved = {name: [(b - a).abs().mean() for a, b in pairwise(seen)] for name, seen in path.items()}
    torch.testing.assert_close(moved[None][0], moved["cosine"][0])
    assert moved["cosine"][9] < 0.3 * moved[None][9]


class Stopped(BaseException):
    """The kill."""


def test_resumes_after_an_interruption_to_the_same_bits(setting, tmp_path):
    generator, objective = setting
    whole = guided_optimise(generator, LABEL, objective, steps=3, batch_size=5, **FAST)
    decode, calls = generator.decode, []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == 10:  # in the third of four batches
            raise Stopped
        return decode(*args, **kwargs)

    generator.decode = dying
    with pytest.raises(Stopped):
        guided_optimise(generator, LABEL, objective, steps=3, batch_size=5, **FAST, run=Run(tmp_path))
    calls.clear()
    again = guided_optimise(generator, LABEL, objective, steps=3, batch_size=5, **FAST, run=Run(tmp_path))
    assert len(calls) == 8  # only the last two batches
    for name, value in whole.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name
    with pytest.raises(BadData, match="another configuration"):
        guided_optimise(generator, LABEL, objective, steps=4, batch_size=5, **FAST, run=Run(tmp_path))


def test_other_weights_are_another_configuration(setting, tmp_path):
    generator, objective = setting
    guided_optimise(generator, LABEL, objective, steps=1, **FAST, run=Run(tmp_path))
    with torch.no_grad():
        objective.student.weight.mul_(2)
    with pytest.raises(BadData, match="another configuration"):
        guided_optimise(generator, LABEL, objective, steps=1, **FAST, run=Run(tmp_path))


def test_concat(setting):
    generator, objective = setting
    parts = [guided_optimise(generator, LABEL[:k], objective, steps=1, **FAST) for k in (1, 3)]
    assert len(Guided.concat(parts)) == 4


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("steps", {"steps": -1}),
        ("lr", {"lr": {"latent": -1.0}}),
        ("lr", {"lr": {"noise": 0.1}}),
        ("last_weights", {"last_weights": ()}),
        ("keep", {"keep": "first"}),
        ("schedule", {"schedule": "step"}),
        ("batch_size", {"batch_size": 0}),
        ("image", {"image": torch.zeros(1, 3, 4, 4)}),
    ],
)
def test_bad_settings_are_refused(setting, name, bad):
    with pytest.raises(BadArgument, match=name):
        guided_optimise(setting[0], LABEL, setting[1], **bad)


def test_a_broken_teacher_is_named(setting):
    generator, objective = setting
    with torch.no_grad():
        objective.teacher.weight.fill_(float("nan"))
    with pytest.raises(BadData, match="not finite"):
        guided_optimise(generator, LABEL, objective, steps=1, **FAST)
