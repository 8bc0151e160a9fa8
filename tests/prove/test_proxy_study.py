"""What a small size says of a large one is read off the table as the card has it; the study trains what it is told."""

import numpy as np
import pyarrow as pa
import pytest

from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.small import digits
from kintsugi.prove.studies.proxy_study import ProxyStudy, carry_over
from kintsugi.training.settings import Training


def table(small, large):
    """Accuracies ``[settings, seeds]`` at sizes 8 and 16."""
    rows = [
        {"model": "cnn", "size": size, "setting": f"s{k}", "seed": seed, "val": float(value), "test": float(value)}
        for size, scores in ((8, small), (16, large))
        for (k, seed), value in np.ndenumerate(np.asarray(scores, dtype=float))
    ]
    return pa.Table.from_pylist(rows)


def test_the_numbers_of_a_table_by_hand():
    small = [[0.1, 0.3], [0.5, 0.5], [0.4, 0.4], [0.3, 0.3]]  # means .2 .5 .4 .3
    large = [[0.2, 0.2], [0.6, 0.8], [0.9, 0.7], [0.1, 0.1]]  # means .2 .7 .8 .1
    said = carry_over(table(small, large), "cnn", 8, 16)
    # ranks 1 4 3 2 against 2 3 4 1: rho = 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15)
    assert said.rank == pytest.approx(0.6)
    assert said.chosen == "s1"
    assert said.loss == pytest.approx(0.1)
    np.testing.assert_allclose(said.gain, [0.6 - 0.45, 0.8 - 0.45])
    same = carry_over(table(large, large), "cnn", 8, 16)
    assert (same.rank, same.loss) == (pytest.approx(1.0), 0.0)
    assert np.isnan(carry_over(table(np.full((4, 2), 0.5), large), "cnn", 8, 16).rank)


def test_a_rate_that_cannot_work_is_ranked_last_at_both_sizes():
    train, test = digits(0, train=400)
    data = ImageSet.concat([train, test.select(np.arange(300))])
    data = data.with_column("split", ["train"] * 400 + ["test"] * 300)
    how = {f"lr {rate:g}": Training(steps=30, lr=rate, optimizer="sgd", device="cpu") for rate in (1e-6, 1e-2, 0.1)}
    study = ProxyStudy(sizes=[4, 8], settings=how, seeds=2)
    built = []

    def net(classes, rng):
        from kintsugi.models.small import small_net

        built.append(classes)
        return small_net("cnn", classes, rng, width=4)

    first, verdict = study.run([net], data, 0)
    assert built == [10] * 12
    rows = first.to_pylist()
    assert {(row["size"], row["setting"], row["seed"]) for row in rows} == {
        (size, name, seed) for size in (4, 8) for name in how for seed in (0, 1)
    }
    dead = [row["test"] for row in rows if row["setting"] == "lr 1e-06"]
    assert max(dead) < 0.35
    assert carry_over(first, "net 0", 4, 8).chosen == "lr 0.1"
    assert verdict.effect > 0.2
    assert "chosen at 4 px" in verdict.rule
    assert study.run([net], data, 0)[0].equals(first)  # the same seed, the same numbers


def test_settings_are_ranked_on_the_validation_part():
    train, test = digits(0, train=100)
    data = ImageSet.concat([train, test.select(np.arange(60))])
    data = data.with_column("split", ["train"] * 100 + ["val"] * 40 + ["test"] * 20)
    how = {str(rate): Training(steps=2, lr=rate, device="cpu") for rate in (0.1, 0.01, 0.001)}
    rows = ProxyStudy(sizes=[4, 8], settings=how, seeds=1).run(["cnn"], data, 0)[0].to_pylist()
    assert all(abs(row["val"] * 40 - round(row["val"] * 40)) < 1e-9 for row in rows)
    assert all(abs(row["test"] * 20 - round(row["test"] * 20)) < 1e-9 for row in rows)


def test_sizes_are_a_quarter_a_half_and_all():
    data = ImageSet.from_arrays(np.zeros((1, 32, 40), np.uint8), [0])
    assert ProxyStudy()._sizes(data) == [8, 16, 32]
    for wrong in (
        {"sizes": [8]}, {"sizes": [8, 8]}, {"sizes": [16, 8]}, {"settings": {"a": Training()}}, {"resample": "area"},
        {"seeds": 0}, {"epochs": 0},
    ):  # fmt: skip
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            ProxyStudy(**wrong)
