"""Planted double labels are all found, and the floor is the closed form."""

import numpy as np
import pytest

from kintsugi.audit.duplicates.conflict_duplicates import ConflictDuplicates
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.findings import Finding, Findings
from kintsugi.data.imageset import ImageSet


def images(n=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def check(data, outputs=None, **options):
    return ConflictDuplicates(**options)(data, outputs, np.random.default_rng(0))


def planted():
    """Two, three and four of one picture: labels 0/1, 2/2/0, and 1/1/1/1, which is no conflict."""
    image, label = images(), np.arange(20) % 3
    image[10], image[[12, 13]], image[[15, 16, 17]] = image[0], image[2], image[4]
    label[[0, 10]], label[[2, 12, 13]], label[[4, 15, 16, 17]] = [0, 1], [2, 2, 0], 1
    return ImageSet.from_arrays(image, label, ["a", "b", "c"])


def test_groups_floor_and_majority_by_hand():
    found = check(planted())
    assert {row.ids for row in found} == {("000000", "000010"), ("000002", "000012", "000013")}
    assert found.summary.count == 2
    assert found.summary.interval == (2, 2)
    assert "90.0000%" in found.summary.notes[0]
    by_ids = {row.ids: row for row in found}
    pair, three = by_ids["000000", "000010"], by_ids["000002", "000012", "000013"]
    assert (pair.score, pair.suggestion, pair.evidence["majority"]) == (0.5, "review", None)
    assert (three.score, three.suggestion, three.evidence["counts"]) == (1 / 3, "relabel:2", {"c": 2, "a": 1})


def test_near_pictures_count_within_eps_alone():
    image = images(6)
    image[3] = np.clip(image[0].astype(int) + 4, 0, 255)
    data = ImageSet.from_arrays(image, [0, 1, 0, 1, 0, 1])
    assert not len(check(data))
    assert [row.ids for row in check(data, eps=0.02)] == [("000000", "000003")]
    assert not len(check(data, eps=0.01))
    assert check(data, eps=0.02).summary.interval is None
    features = np.eye(6)
    features[3] = features[0]
    given = Outputs(data.ids, np.ones((6, 1)), features)
    assert [row.ids for row in check(data, given, eps=0.1, space="features")] == [("000000", "000003")]
    with pytest.raises(BadArgument, match="needs features"):
        check(data, eps=0.1, space="features")


def test_pairs_of_others_join_groups():
    data = planted()
    told = (("000005", "000006", True), ("000006", "000007", True), ("000008", "000009", False))
    rows = [Finding("pair", (a, b), 0.9, sure, "near_duplicate", "drop", "they are alike") for a, b, sure in told]
    found = check(data, pairs=Findings.of(rows, "near_duplicates"))
    assert ("000005", "000006", "000007") in {row.ids for row in found}
    assert ("000008", "000009") not in {row.ids for row in found}
    assert found.summary.count == 4  # labels 2, 0, 1 of the three: two errors more
    with pytest.raises(BadData, match="'nobody'"):
        check(data, pairs=[("000001", "nobody")])


def test_what_cannot_be_told():
    data = planted()
    unknown = check(data.relabel(np.full(20, -1)))
    assert "cannot tell" in unknown.summary.notes[0]
    some = data.labels.copy()
    some[10] = -1
    assert len(check(data.relabel(some))) == 1
    same = ImageSet.from_arrays(np.zeros((500, 4, 4, 3), np.uint8), np.arange(500) % 7)
    assert [len(row.ids) for row in check(same, eps=0.1)] == [500]
    assert check(same).summary.count == 500 - 72
