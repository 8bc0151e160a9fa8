"""Balance by leaving out: shares, refusals, and that no attribute of a sample is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.audit.groups.balanced_subset import BalancedSubset, balance_subset, distribution_report, left_out
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet


def rng():
    return np.random.default_rng(0)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_as_many_are_kept_as_the_shares_allow(counts, seed):
    index = np.repeat(np.arange(len(counts)), counts)
    names = [str(k) for k in range(len(counts))]
    kept = balance_subset(index, names, np.random.default_rng(seed))
    assert np.bincount(index[kept]).tolist() == [min(counts)] * len(counts)
    assert len(set(kept.tolist())) == len(kept)
    q = np.random.default_rng(seed).dirichlet(np.ones(len(counts)))
    kept = balance_subset(index, names, np.random.default_rng(seed), target=dict(zip(names, q, strict=True)))
    got = np.bincount(index[kept], minlength=len(counts))
    n = min(int(c / share) for c, share in zip(counts, q, strict=True))
    assert got.tolist() == [int(n * share) for share in q]


def test_a_subset_is_a_draw_and_not_the_first():
    index = np.repeat([0, 1], [50, 5])
    drawn = {tuple(balance_subset(index, ["a", "b"], np.random.default_rng(s))) for s in range(5)}
    assert len(drawn) == 5


def test_too_few_and_values_that_do_not_occur_are_refused():
    index = np.repeat([0, 1], [50, 3])
    with pytest.raises(BadData, match="'b' has 3"):
        balance_subset(index, ["a", "b"], rng(), smallest=5)
    with pytest.raises(BadData, match="'c' does not occur"):
        balance_subset(index, ["a", "b"], rng(), target={"a": 0.5, "c": 0.5})
    with pytest.raises(BadData, match="No value"):
        balance_subset(np.full(4, -1), ["a"], rng())
    kept = balance_subset(index, ["a", "b"], rng(), target={"a": 1.0}, smallest=5)
    assert len(kept) == 50


def test_the_report_by_hand():
    made = distribution_report(np.repeat([0, 1, -1], [30, 10, 2]), ["a", "b"])
    assert made == {"counts": {"a": 30, "b": 10}, "entropy": pytest.approx(0.8112781), "distance": 0.25, "unknown": 2}


def data_of(n=200):
    label = np.arange(n) % 2
    place = np.where(np.arange(n) % 10 < 9, "sea", "land")
    camera = np.where(np.arange(n) < n // 2, "A", "B")
    return ImageSet.from_arrays(np.zeros((n, 2, 2), np.uint8), label, ["cat", "dog"], place=place, camera=camera)


def test_what_is_kept_meets_the_target_in_every_class():
    data = data_of()
    found = BalancedSubset(["place"], {"sea": 0.6, "land": 0.4})(data, None, rng())
    kept = data.where(~np.isin(data.ids, list(left_out(found))))
    places = kept.where(label=1).column("place")
    assert (places == "sea").mean() == pytest.approx(0.6, abs=0.02)
    assert (places == "land").sum() == 20  # all there are
    assert len(kept.where(label=0)) == 100
    refused = [row for row in found if row.check == "cannot_balance"]
    assert [row.ids[0] for row in refused] == ["label=cat, place"]  # every land is a dog's


def test_no_finding_tells_a_samples_attribute():
    found = BalancedSubset(["place"])(data_of(), None, rng())
    for row in found:
        if row.subject == "sample":
            assert not any(word in row.why for word in ("sea", "land", "place"))
            assert not row.evidence


def test_without_an_attribute_distributions_are_told_and_nothing_is_left_out():
    found = BalancedSubset()(data_of(), None, rng())
    assert {row.check for row in found} == {"off_target"}
    flagged = {row.ids[0] for row in found.flagged}
    assert flagged == {"label=dog, place"}
    assert "No attribute was named" in found.summary.notes[0]


def test_crossed_attributes_are_named_as_groups():
    found = BalancedSubset(["place", "camera"], smallest=1)(data_of(), None, rng())
    row = next(row for row in found if row.ids == ("label=dog, place x camera",) and row.check == "off_target")
    assert set(row.evidence["counts"]) == {
        "place=sea, camera=A",
        "place=sea, camera=B",
        "place=land, camera=A",
        "place=land, camera=B",
    }


@pytest.mark.parametrize(
    "options",
    [{"attribute": "place"}, {"target": {"a": 1.0}}, {"attribute": ["p"], "target": {"a": 0.7}}, {"tolerance": 1}],
)
def test_bad_parameters_are_refused_by_name(options):
    with pytest.raises(BadArgument, match=list(options)[-1]):
        BalancedSubset(**options)
