"""Ties, missing groups and gaps against scipy and by construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, chi2_contingency, fisher_exact, hypergeom
from scipy.stats.contingency import association

from kintsugi.audit.groups.group_gaps import GroupGaps, tie
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.imageset import ImageSet


def test_tie_agrees_with_scipy_where_the_correction_vanishes():
    table = np.array([[3000, 1000], [500, 2500]])
    v, p = tie(table, 500, np.random.default_rng(0))
    assert v == pytest.approx(association(table, method="cramer"), abs=2e-3)
    assert p == pytest.approx(1 / 501)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(1, 15), min_size=3, max_size=3), min_size=2, max_size=4))
def test_the_random_tables_give_scipys_p_value(rows):
    table = np.array(rows)
    _, p = tie(table, 4000, np.random.default_rng(0))
    # not the chi-squared approximation, which small counts leave: SciPy's own permutations
    permuted = PermutationMethod(2000, rng=np.random.default_rng(1))
    assert p == pytest.approx(chi2_contingency(table, correction=False, method=permuted).pvalue, abs=0.06)


def test_independent_columns_have_a_corrected_tie_of_zero_on_average():
    rng = np.random.default_rng(0)
    values = [
        tie(np.histogram2d(*rng.integers(0, 5, (2, 200)), bins=5)[0].astype(int), 100, rng)[0] for _ in range(100)
    ]
    assert np.mean(values) < 0.06  # uncorrected it would be near 0.14


def test_the_missing_groups_of_the_embedded_data_are_named():
    world = DigitsOnPhotos()
    parts = {"train": world.mixed(200, 0.0, "pool", 0), "test": world.every_group("test", 0)}
    data = ImageSet.concat([part.with_column("split", [name] * len(part)) for name, part in parts.items()])
    found = GroupGaps()(data, None, np.random.default_rng(0))
    missing = {row.ids[0] for row in found if row.check == "missing_group"}
    assert missing == {
        f"train: label={data.classes[0]}, background=flower",
        f"train: label={data.classes[1]}, background=temple",
    }
    tied = {row.ids[0]: row for row in found if row.check == "tied_attribute"}
    assert tied["train: background"].score > 0.95
    assert not tied["test: background"].flagged
    assert "digit" in found.summary.notes[0]


def planted(gap):
    rng = np.random.default_rng(0)
    n = 800
    label, place = np.arange(n) % 2, (np.arange(n) // 2) % 2
    right = rng.random(n) < np.where((label == 0) & (place == 1), 0.9 - gap, 0.9)
    prob = np.eye(2)[np.where(right, label, 1 - label)]
    data = ImageSet.from_arrays(np.zeros((n, 2, 2), np.uint8), label, ["a", "b"], place=place)
    return data, Outputs(data.ids, prob, held_out=True), label, place, right


def test_a_planted_gap_is_found_with_fishers_p_and_no_other():
    data, outputs, label, place, right = planted(0.3)
    found = GroupGaps()(data, outputs, np.random.default_rng(0))
    flagged = [row for row in found.flagged if row.check == "accuracy_gap"]
    assert [row.ids[0] for row in flagged] == ["label=a, place=1"]
    m, r = (label == 0) & (place == 1), (label == 0) & (place == 0)
    table = [[right[m].sum(), (~right[m]).sum()], [right[r].sum(), (~right[r]).sum()]]
    assert flagged[0].evidence["p"] == pytest.approx(4 * fisher_exact(table, alternative="less").pvalue)


def test_no_gap_no_finding():
    data, outputs, *_ = planted(0.0)
    assert not [r for r in GroupGaps()(data, outputs, np.random.default_rng(0)).flagged if r.check == "accuracy_gap"]


def test_imbalance_and_an_empty_class_are_named():
    data = ImageSet.from_arrays(np.zeros((22, 2, 2), np.uint8), [0] * 20 + [1] * 2, ["a", "b", "c"])
    found = {row.ids[0]: row for row in GroupGaps()(data, None, np.random.default_rng(0))}
    assert set(found) == {"b", "c"}
    assert "no sample" in found["c"].why


def test_bad_parameters_are_refused_by_name():
    with pytest.raises(BadArgument, match="tie"):
        GroupGaps(tie=0)
    with pytest.raises(BadArgument, match="draws"):
        GroupGaps(draws=1)


def test_a_missing_group_is_certain_or_not_flagged():
    rng = np.random.default_rng(0)
    empty = certain = 0
    for _ in range(60):  # 200 cells of 6 expected samples: half a cell is empty by chance, and none is missing
        label, shop = rng.integers(10, size=1200), rng.integers(20, size=1200)
        data = ImageSet.from_arrays(np.zeros((1200, 1, 1), np.uint8), label, [str(k) for k in range(10)], shop=shop)
        rows = [row for row in GroupGaps(draws=100)(data, None, rng) if row.check == "missing_group"]
        empty, certain = empty + len(rows), certain + sum(row.flagged for row in rows)
    assert empty >= 10
    assert certain <= 7  # 5% of 60 are allowed

    label, shop = np.repeat([0, 1], 60), np.tile(np.arange(3), 40)
    label[shop == 2] = 1
    data = ImageSet.from_arrays(np.zeros((120, 1, 1), np.uint8), label, ["a", "b"], shop=shop)
    (row,) = (row for row in GroupGaps()(data, None, rng) if row.check == "missing_group")
    assert row.flagged
    table = np.array([[20, 20, 0], [20, 20, 40]])
    assert row.evidence["p"] == pytest.approx(6 * hypergeom.pmf(0, 120, table[0].sum(), 40))


def test_ten_thousand_classes_of_two_samples_stay_within_memory():
    import tracemalloc

    label = np.repeat(np.arange(10_000), 2)
    place = np.random.default_rng(0).integers(10, size=20_000)
    data = ImageSet.from_arrays(np.zeros((20_000, 1, 1), np.uint8), label, [str(k) for k in range(10_000)], place=place)
    tracemalloc.start()
    found = GroupGaps()(data, None, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6
    assert not found.flagged
