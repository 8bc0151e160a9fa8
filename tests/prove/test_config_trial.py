"""The trial of ConfiG in miniature: every arm is run on equal terms, and what claims name is there."""

import numpy as np
import pytest
import torch

from kintsugi.core.randomness import torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.models.open import open_model
from kintsugi.prove.additions import BEST_OF_N, Additions, Guiding
from kintsugi.prove.bench import Bench, Settings
from kintsugi.prove.trial import judge
from kintsugi.prove.trials.config import CEILING, OWN, PLAIN, SETTINGS, ConfigTrial, row_of, trial
from kintsugi.prove.worlds import digits

TINY = Settings(
    pool=60, student_images=40, added=8, teacher_width=4, student_width=4, teacher_steps=3, lengths=(2, 3),
    generator_steps=2, guiding=Guiding(1), own=Guiding(1),
)  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    made = ConfigTrial([digits()], TINY, part="valid", trainings=1, each=2)
    return made, {unit: made.run(unit, Run(None)) for unit in made.units(None)}


def test_a_unit_has_every_arm_for_every_student_at_every_length(cells):
    _, by_unit = cells
    assert list(by_unit) == ["5-0", "1-0"]
    found = {(cell.row, cell.seed, cell.arm) for made in by_unit.values() for cell in made}
    arms = {*PLAIN, OWN, *BEST_OF_N, "ConfiG", CEILING}
    rows = {row_of(share, steps) for share in ("5% pool", "1% pool") for steps in TINY.lengths}
    assert found == {(row, seed, arm) for row in rows for seed in (0, 1) for arm in arms}


def test_every_claim_can_be_judged_and_only_the_first_length_decides(cells):
    made, by_unit = cells
    every = [cell for made in by_unit.values() for cell in made]
    for claim in made.claims:
        judge(claim, every, draws=10)
    assert {claim.row for claim in made.claims if not claim.shown_only} == {"5% pool, 2 steps", "1% pool, 2 steps"}


def test_the_parts_of_the_data_are_tried_with_other_seeds(monkeypatch):
    seen = []
    monkeypatch.setattr(Bench, "teacher", lambda self, seed, run: seen.append(seed) or 1 / 0)
    for part in ("valid", "test"):
        with pytest.raises(ZeroDivisionError):
            ConfigTrial([digits()], TINY, part=part).run("5-0", Run(None))
    assert len(set(seen)) == 2


def test_trainings_take_the_worlds_in_turn():
    made = trial("pairs")
    assert [world.classes for world in made.worlds] == [(str(k), str(k + 1)) for k in range(0, 10, 2)]
    assert made.settings == SETTINGS["digits"]
    assert len(made.units(None)) == 10


def test_every_world_has_settings_of_its_own():
    from kintsugi.prove.worlds import WORLDS

    assert set(SETTINGS) == set(WORLDS)


@pytest.fixture(scope="module")
def additions():
    world = digits()
    pool = world.pool(24, 0.5, 0)
    generator = PixelDiffusion(size=16, steps=1, label_dropout=0.0, device="cpu").fit(pool, rng=torch_rng(0, "g"))
    teacher = open_model("small:cnn", data_classes=world.classes, seed=1, width=4)
    student = open_model("small:cnn", data_classes=world.classes, seed=2, width=4)
    return Additions(
        teacher.eval(), generator, pool, world.student(20, 0), count=6, seed=0, device=torch.device("cpu")
    ), student.eval()


def test_the_second_round_is_guided_by_a_student_that_saw_the_first(additions):
    added, student = additions
    seen = []

    def again(data):
        seen.append(data)
        return student

    made = added.guided(student, {"ConfiG": "product"}, Guiding(1, rounds=2), again)["ConfiG"]
    assert [len(data) for data in seen] == [3]
    first = np.concatenate([image for _, image in seen[0].stream(8)])
    whole = np.concatenate([image for _, image in made.stream(8)])
    np.testing.assert_array_equal(whole[:3], first)
    assert made.labels.tolist() == added.want.tolist()
    assert not np.array_equal(whole[3:], first)


def test_every_arm_adds_as_many_images_with_the_teachers_labels(additions):
    added, student = additions
    arms = {
        **added.plain(),
        **added.guided(student, {"ConfiG": "product"}, Guiding(1), lambda _: student),
        **added.best_of_n(student, "product", 0.0),
    }
    for data in arms.values():
        assert isinstance(data, ImageSet)
        assert len(data) == 6
        assert data.target.shape == (6, 2)
    assert added.facts["N"] == 1


def test_the_best_of_n_are_better_by_the_objective_than_the_first(additions):
    from kintsugi.generate.guidance import ConfidenceGuidance
    from kintsugi.models.predict import as_images
    from kintsugi.prove.additions import _uint8

    added, student = additions
    objective = ConfidenceGuidance(added.teacher, student, form="product")
    first, many = (added.best_of_n(student, "product", seconds) for seconds in (0.0, 1.0))
    assert added.facts["N"] > 1
    with torch.no_grad():
        means = [
            float(objective(as_images(_uint8(data[BEST_OF_N[0]]), "cpu"), added.want).mean()) for data in (first, many)
        ]
    assert means[1] > means[0]
