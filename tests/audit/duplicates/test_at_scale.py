"""Against all pairs by matrix product, on clustered vectors small enough for it."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kintsugi.audit.duplicates import at_scale
from kintsugi.audit.duplicates.at_scale import deduplicate
from kintsugi.core.errors import BadArgument, BadData


def clustered(n=2000, d=24, seed=0):
    """Vectors around 40 means, a fifth of them changed copies of others, and ten equal ones."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((40, d))[rng.integers(40, size=n)] + 0.7 * rng.standard_normal((n, d))
    copies = rng.permutation(n)[: n // 5]
    base[copies[: n // 10]] = base[copies[n // 10 :][: n // 10]] + 0.1 * rng.standard_normal((n // 10, d))
    base[-10:] = base[0]
    return base.astype(np.float32)


def all_pairs(base, similarity):
    unit = base.astype(np.float64) / np.linalg.norm(base, axis=1, keepdims=True)
    cosine = np.triu(unit @ unit.T, 1)
    return {(int(a), int(b)) for a, b in np.argwhere(cosine >= similarity)}, cosine


@pytest.mark.parametrize("similarity", [0.9, 0.97])
def test_all_pairs_are_found_where_probes_suffice(similarity):
    base = clustered()
    found = deduplicate(base, similarity, cells=60, probes=60, k=1000)
    true, cosine = all_pairs(base, similarity)
    mine = {(int(a), int(b)) for a, b in found.pairs}
    equal = {(a, b) for a, b in true if (base[a] == base[b]).all()}
    assert mine - equal <= true
    assert {(a, b) for a, b in true - mine if a not in range(1990, 2000) and b not in range(1990, 2000)} == set()
    np.testing.assert_allclose(found.similarity, cosine[tuple(found.pairs.T)], atol=1e-5)
    assert found.recall == 1.0
    assert found.facts["equal"] == 10
    assert (found.label[-10:] == found.label[0]).all()


def test_looking_up_pairs_and_multiplying_find_the_same(monkeypatch):
    found = []
    for dense in (0, 10**9):
        monkeypatch.setattr(at_scale, "DENSE", dense)
        found.append(deduplicate(clustered(), 0.8, cells=20, k=3, memory=1))
    assert found[0].facts == found[1].facts
    assert found[0].facts["rows_with_k_pairs"] > 50
    np.testing.assert_array_equal(found[0].pairs, found[1].pairs)
    np.testing.assert_array_equal(found[0].similarity, found[1].similarity)


def test_few_probes_lose_pairs_and_the_recall_says_how_many():
    base = clustered(d=12)
    full = deduplicate(base, 0.8, cells=200, probes=200, k=5000, check=0)
    few = deduplicate(base, 0.8, cells=200, probes=1, k=5000, check=2000)
    true = len(few.pairs) / len(full.pairs)
    assert true < 0.95
    assert few.recall == pytest.approx(true, abs=0.01)
    assert full.recall is None


def test_groups_hold_what_is_near_their_first_and_keep_is_the_rest():
    base = clustered()
    for mode in ("greedy", "components"):
        found = deduplicate(base, 0.9, mode=mode)
        _, cosine = all_pairs(base, 0.9)
        member = np.flatnonzero(found.label != np.arange(len(base)))
        assert (cosine[found.label[member], member] >= 0.9 - 1e-5).all()
        assert len(found.keep) == len(base) - len(member)
        assert len(np.unique(found.label)) == len(found.keep)


def test_files_of_any_kind_say_the_same_as_the_array(tmp_path):
    base = clustered(900)
    wanted = deduplicate(base, 0.9)
    np.save(tmp_path / "all.npy", base)
    for kind in ("npy", "parquet"):
        (tmp_path / kind).mkdir()
    for number, part in enumerate(np.split(base, [100, 500])):
        np.save(tmp_path / "npy" / f"{number}.npy", part)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
        column = lists if number else lists.cast(pa.list_(pa.float32()))
        table = pa.table({"id": np.arange(len(part)), "embedding": column})
        pq.write_table(table, tmp_path / "parquet" / f"{number}.parquet")
    files = sorted((tmp_path / "npy").iterdir())
    for source in (tmp_path / "all.npy", str(tmp_path / "npy"), tmp_path / "parquet", files, base.astype(np.float64)):
        found = deduplicate(source, 0.9, scratch=tmp_path)
        np.testing.assert_array_equal(found.pairs, wanted.pairs)
        np.testing.assert_array_equal(found.label, wanted.label)


def test_many_equal_rows_are_one_group_and_no_quadratic_number_of_pairs():
    base = np.concatenate([np.ones((5000, 8)), clustered(50, 8)])
    found = deduplicate(base.astype(np.float32), 0.99)
    assert (found.label[:5000] == 0).all()
    assert len(found.pairs) < 5100
    near = (1 + 1e-3 * np.random.default_rng(0).standard_normal((900, 8))).astype(np.float32)
    crowded = deduplicate(near, 0.9, k=5)
    assert crowded.facts["rows_with_k_pairs"] > 500
    assert len(crowded.pairs) < 900 * 5 * crowded.facts["cells"]
    assert len(crowded.keep) < 150


def test_hardly_any_rows_are_no_crash():
    assert deduplicate(np.zeros((0, 4), np.float32)).pairs.shape == (0, 2)
    assert deduplicate(np.ones((1, 4), np.float32)).keep.tolist() == [0]
    assert deduplicate(np.eye(3, dtype=np.float32)).keep.tolist() == [0, 1, 2]
    assert deduplicate(np.zeros((3, 4), np.float32)).keep.tolist() == [0]


def test_bad_input_is_named(tmp_path):
    base = clustered(60)
    for name, value in {
        "similarity": 1.0,
        "k": 0,
        "cells": 0,
        "probes": 0,
        "check": -1,
        "memory": 0,
        "mode": "x",
    }.items():
        with pytest.raises(BadArgument, match=name):
            deduplicate(base, **{name: value})
    base[3, 2] = np.nan
    with pytest.raises(BadData, match="not finite in 1 rows, first 3"):
        deduplicate(base)
    with pytest.raises(BadData, match="no embeddings"):
        deduplicate(tmp_path)
    (tmp_path / "torn.npy").write_bytes(b"nothing")
    with pytest.raises(BadData, match="torn.npy cannot be read"):
        deduplicate(tmp_path / "torn.npy")
    (tmp_path / "torn.parquet").write_bytes(b"nothing")
    with pytest.raises(BadData, match="torn.parquet cannot be read"):
        deduplicate(tmp_path / "torn.parquet")
    with pytest.raises(BadData, match="int64"):
        deduplicate(np.zeros((3, 2), np.int64))
    np.save(tmp_path / "torn.npy", np.zeros((3, 2), np.float32))
    np.save(tmp_path / "zorn.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(BadData, match="3 and 2 columns"):
        deduplicate([tmp_path / "torn.npy", tmp_path / "zorn.npy"])
