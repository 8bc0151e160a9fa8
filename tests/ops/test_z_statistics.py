"""z is its formula, and normal where nothing is planted."""

import numpy as np
import pytest

from kintsugi.ops.z_statistics import z_of, z_statistics


def test_z_is_its_formula():
    table = np.array([[30, 10], [5, 15], [0, 0]])
    found = z_statistics(table)
    for value, row in enumerate(table[:2]):
        for label, count in enumerate(row):
            n = row.sum()
            assert found[value, label] == pytest.approx((count / n - 0.5) / np.sqrt(0.25 / n))
    assert (found[2] == 0).all()


def test_a_prior_of_the_labels_own():
    table = np.array([[90, 10], [45, 5]])
    assert z_statistics(table, table.sum(0) / 150) == pytest.approx(np.zeros((2, 2)), abs=1e-9)
    assert z_of(12, 20, 0.3) == pytest.approx((0.6 - 0.3) / np.sqrt(0.21 / 20))


def test_without_a_bias_z_is_standard_normal():
    rng = np.random.default_rng(0)
    table = rng.multinomial(400, [0.25] * 4, size=5000)
    z = z_statistics(table)
    assert z.mean() == pytest.approx(0, abs=0.02)
    assert z.std() == pytest.approx(1, abs=0.02)
