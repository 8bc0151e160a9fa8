"""The adaptive rule by its formula; groups, leaks and copies on the embedded digits (the card's own check)."""

import numpy as np
import pytest

from kintsugi.audit.duplicates.snip import Snip, excess
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.ops.codes import ProductCodes
from kintsugi.prove.trial import Cell, judge
from kintsugi.prove.trials import snip as evidence

FAST = {"compressor": "pca", "size": 16, "parts": 4}


def audit(features, split=None, **how):
    n = len(features)
    data = ImageSet.from_arrays(np.zeros((n, 4, 4), np.uint8), np.zeros(n, int), ["any"])
    data = data if split is None else data.with_column("split", split)
    return Snip(**{**FAST, **how})(data, Outputs(data.ids, np.ones((n, 1)), features), np.random.default_rng(0))


def planted(n=600, d=32, copies=60):
    rng = np.random.default_rng(0)
    base = rng.standard_normal((n, d))
    return np.concatenate([base, base[:copies] + 0.02 * rng.standard_normal((copies, d))])


def pairs_of(findings):
    return {tuple(sorted(int(name) for name in row.ids)) for row in findings.flagged if row.subject == "pair"}


def whole(findings):
    return next(row for row in findings if row.subject == "dataset").evidence


def test_the_adaptive_rule_is_the_formula_in_both_directions():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((80, 6)).astype(np.float32)
    codes = ProductCodes(3, 8).fit(base, rng)
    code = codes.encode(base)
    adc = ((base[:, None].astype(float) - codes.decode(code)[None]) ** 2).sum(-1)
    pairs = np.stack(np.triu_indices(80, 1), axis=1)
    wanted = [max(adc[x, y] / (1.2 * adc[x, x] + 0.1), adc[y, x] / (1.2 * adc[y, y] + 0.1)) for x, y in pairs]
    np.testing.assert_allclose(excess(codes, base, code, pairs, slack=0.2, offset=0.1), wanted, rtol=1e-4)
    exact = ProductCodes(3, 128).fit(base, rng)  # each has its own centroid: no error, so nothing but itself is allowed
    assert np.isinf(excess(exact, base, exact.encode(base), pairs, offset=0.0)).all()


def test_planted_copies_are_grouped_and_little_else():
    found = pairs_of(audit(planted()))
    true = {(row, 600 + row) for row in range(60)}
    assert len(found & true) >= 48
    assert len(found & true) >= 0.9 * len(found)


def test_a_fixed_threshold_and_a_fixed_recheck_do_what_they_say():
    assert pairs_of(audit(planted(), threshold=0.0)) == set()
    none = audit(planted(), recheck=0.0)
    assert pairs_of(none) == set()
    assert any(row.suggestion == "review" for row in none if row.subject == "pair")
    assert len(pairs_of(audit(planted(), threshold=2.0, recheck=0.05))) >= 48


def test_more_equal_vectors_than_neighbours_are_one_group():
    base = planted()
    base[100:140] = base[100]
    findings = audit(base, k=2)
    assert {(100, row) for row in range(101, 140)} <= pairs_of(findings)
    assert whole(findings)["sizes"]["40"] == 1


def test_leaks_between_splits_are_counted_and_to_be_split():
    findings = audit(planted(), ["train"] * 600 + ["test"] * 60)
    leaks = [row for row in findings.flagged if row.suggestion == "split"]
    assert len(leaks) >= 48
    assert whole(findings)["leaks"] == {"test+train": len(leaks)}
    assert whole(findings)["unique"] + whole(findings)["duplicates"] == 660


def test_what_it_cannot_tell_it_says():
    n = 60
    data = ImageSet.from_arrays(np.zeros((n, 4, 4), np.uint8), np.zeros(n, int), ["any"])
    assert "cannot tell" in Snip()(data, None, np.random.default_rng(0)).summary.notes[0]
    constant = audit(np.ones((n, 5)))
    assert "features say nothing" in constant.summary.notes[-1]
    assert whole(constant)["unique"] == 1
    few = audit(np.random.default_rng(0).standard_normal((20, 5)))
    assert "too few" in few.summary.notes[0]
    assert few.summary.count is None
    with pytest.raises(BadData, match="not finite"):
        audit(np.full((n, 5), np.nan))


def test_constant_columns_and_many_groups_are_no_crash():
    features = np.repeat(np.random.default_rng(0).standard_normal((400, 6)), 2, axis=0)
    features[:, 3:] = 1.0
    findings = audit(features)
    assert len(pairs_of(findings)) >= 400
    assert whole(findings)["unique"] <= 400


def test_an_encoder_leaves_out_images_that_cannot_be_read():
    from collaborators import SmallEncoder

    from kintsugi.data.source import BadImage

    rng = np.random.default_rng(0)
    data = ImageSet.from_arrays(rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.zeros(60, int), ["any"])

    class Torn:
        fingerprint = "torn"

        def __len__(self):
            return 60

        def read(self, row):
            if row % 7 == 0:
                raise BadImage(f"{row}.jpg", "truncated")
            return data.source.read(row)

    torn = ImageSet(Torn(), data.table, data.classes)
    findings = Snip(SmallEncoder(), **FAST)(torn, None, rng)
    assert "9 images could not be read" in findings.summary.notes[1]
    assert whole(findings)["unique"] + whole(findings)["duplicates"] == 51


@pytest.mark.slow
def test_the_cards_check_on_digits():
    """Margins of the card: the ratio over a fixed threshold, SNIP over components, precision after the re-check."""
    digits = evidence.ImageSet.concat(list(evidence.digits(7)))
    data, pairs = evidence.near_duplicates(digits, 400, evidence.numpy_rng(7, "plant"))
    arms = evidence._arms(evidence.DIGITS, data, pairs, evidence._pixels(data), len(digits), 7)
    cells = [Cell(row, "seed-7", 7, arm, scores) for row, arm, scores in arms]
    for claim in evidence.trial().claims:
        assert judge(claim, cells).effect >= claim.margin
