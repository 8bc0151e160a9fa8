"""Against SciPy's association, simulated independence, and groups whose faults are planted."""

import numpy as np
import pytest

from kintsugi.audit.groups.group_gaps import GroupGaps, cramers_v, holm, newcombe
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet


def images(label, **columns):
    k = int(np.max(label)) + 1
    return ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label, [f"c{i}" for i in range(k)], **columns)


def audit(data, outputs=None, seed=0, **options):
    return GroupGaps(**options)(data, outputs, np.random.default_rng(seed))


def by_check(findings, *, flagged=True):
    return {(row.check, row.ids[0]) for row in findings if row.flagged or not flagged}


def test_cramers_v_approaches_the_plain_one_and_is_unbiased_where_that_is_not():
    from scipy.stats.contingency import association

    large = np.array([[4000, 1000, 300], [900, 3000, 800]])
    assert cramers_v(large) == pytest.approx(association(large), abs=1e-3)
    assert cramers_v(np.diag([40, 40, 40])) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    made = [rng.multinomial(60, np.full(12, 1 / 12)).reshape(3, 4) for _ in range(300)]
    made = [table for table in made if table.any(0).all() and table.any(1).all()]
    assert np.mean([association(table) for table in made]) > 0.2  # independent, yet far from 0
    assert np.mean([cramers_v(table) for table in made]) < 0.09


def test_independent_attributes_are_flagged_no_more_often_than_the_level():
    flagged = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        data = images(rng.integers(2, size=80), place=rng.integers(3, size=80).tolist())
        flagged += any(check == "tied_attribute" for check, _ in by_check(audit(data, seed=seed, draws=199)))
    assert flagged <= 7  # 5% of 60 is 3


def test_planted_faults_are_named():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [300, 200])
    place = np.where(label == 0, "land", np.where(rng.random(500) < 0.98, "water", "land"))
    data = images(
        label, place=place, nothing=rng.integers(2, size=500), only=["same"] * 500, name=[*map(str, range(500))]
    )
    findings = audit(data)
    told = by_check(findings)
    assert ("tied_attribute", "place") in told
    assert ("missing_group", "label=c0, place=water") in told
    assert ("rare_group", "label=c1, place=land") in told
    assert not any("nothing" in name for _, name in told)
    assert any("only, name" in note for note in findings.summary.notes)
    tie = next(row for row in findings if row.check == "tied_attribute")
    assert tie.evidence["p_value"] == pytest.approx(2 / 2000)  # the smallest 1999 draws can give, for two attributes


def test_rare_and_missing_classes():
    data = ImageSet.from_arrays(
        np.zeros((208, 2, 2), np.uint8), np.repeat([0, 1, 2], [100, 100, 8]), ["a", "b", "c", "d"]
    )
    assert by_check(audit(data)) == {("missing_class", "d"), ("rare_class", "c")}


def test_accuracy_is_compared_within_the_class():
    """Class 1 is hard everywhere: only the group that falls behind its own class is flagged."""
    rng = np.random.default_rng(1)
    label, place = rng.integers(2, size=2000), rng.integers(2, size=2000)
    chance = np.where(label == 1, 0.7, 0.95) - 0.3 * ((label == 0) & (place == 1))
    said = np.where(rng.random(2000) < chance, label, 1 - label)
    data = images(label, place=place.tolist())
    findings = audit(data, Outputs(data.ids, np.eye(2)[said], held_out=True))
    assert by_check(findings) == {("accuracy_gap", "label=c0, place=1")}
    row = findings.rows[0]
    mine = (label == 0) & (place == 1)
    assert row.evidence["accuracy"] == pytest.approx((said == label)[mine].mean())
    low, high = row.evidence["interval"]
    assert low < 0.3 < high
    plain = audit(images(label), Outputs(data.ids, np.eye(2)[said], held_out=False))
    assert by_check(plain) == {("accuracy_gap", "label=c1")}  # without the attribute the classes are compared
    assert any("trained on" in note for note in plain.summary.notes)


def test_newcombe_by_its_published_example_and_holm_by_hand():
    # Newcombe (1998), table II, method 10: 56/70 - 48/80
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_small_and_empty_data():
    assert len(audit(images([0, 1], place=["a", "b"]))) >= 1
    assert not audit(images([0, 1], place=["a", "b"])).flagged
    with pytest.raises(BadArgument, match="no attribute 'where'"):
        audit(images([0, 1]), attributes=("where",))
    with pytest.raises(BadArgument, match="level=2"):
        GroupGaps(level=2)
