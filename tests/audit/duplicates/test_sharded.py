"""The same pairs for any cutting, worker and engine; and what it finds against all pairs."""

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kintsugi.audit.duplicates.sharded import deduplicate_sharded
from kintsugi.audit.duplicates.tasks import runner
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.ops.codes import ProductCodes
from kintsugi.training.feature_compressor import FeatureCompressor

COPIES = 150


def planted(n=1500, d=24):
    """Unit vectors, 150 changed copies, and four rows equal to the first."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((30, d))[rng.integers(30, size=n)] + rng.standard_normal((n, d))
    base[-COPIES:] = base[:COPIES] + 0.05 * rng.standard_normal((COPIES, d))
    base[700:704] = base[0]
    return base.astype(np.float32)


def settings(**more):
    how = {"compressor": FeatureCompressor("pca", 16), "codes": ProductCodes(4, 32), "cells": 12, "probes": 6}
    return {**how, "reach": 0.5, "slack": 1.0, "k": 200, **more}


def cut(base, folder, at, kind="npy"):
    folder.mkdir()
    files = []
    for number, part in enumerate(np.split(base, at)):
        files.append(folder / f"{number}.{kind}")
        if kind == "npy":
            np.save(files[-1], part)
        else:
            lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
            pq.write_table(pa.table({"vector": lists}), files[-1])
    return files


def test_planted_copies_are_found_and_little_else(tmp_path):
    base = planted()
    found = deduplicate_sharded(cut(base, tmp_path / "in", [800]), tmp_path / "work", 0.95, **settings())
    mine = {(int(a), int(b)) for a, b in found.pairs}
    true = {(row, 1500 - COPIES + row) for row in range(COPIES)}
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    assert len(mine & true) >= 0.9 * COPIES
    assert all(unit[a] @ unit[b] >= 0.95 - 1e-5 for a, b in mine)
    assert {(0, row) for row in range(700, 704)} <= mine
    assert found.facts["equal"] == 4
    assert (found.label[[0, 700, 703]] == 0).all()


@pytest.mark.parametrize(
    ("at", "kind", "workers"), [([800], "npy", 2), ([3, 500, 501, 1300], "npy", 1), ([400], "parquet", 2)]
)
def test_files_and_workers_change_nothing(tmp_path, at, kind, workers):
    base = planted()
    wanted = deduplicate_sharded(cut(base, tmp_path / "one", []), tmp_path / "work-one", 0.9, **settings())
    files = cut(base, tmp_path / "many", at, kind)
    found = deduplicate_sharded(files, tmp_path / "work", 0.9, workers=workers, **settings())
    np.testing.assert_array_equal(found.pairs, wanted.pairs)
    np.testing.assert_array_equal(found.similarity, wanted.similarity)
    np.testing.assert_array_equal(found.label, wanted.label)
    assert found.facts["candidates"] == wanted.facts["candidates"] > COPIES


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_says_the_same(tmp_path):
    base = planted()
    files = cut(base, tmp_path / "in", [300, 900, 1200])
    wanted = deduplicate_sharded(files, tmp_path / "plain", 0.9, **settings())
    found = deduplicate_sharded(files, tmp_path / "ray", 0.9, engine="ray", workers=2, **settings())
    np.testing.assert_array_equal(found.pairs, wanted.pairs)
    np.testing.assert_array_equal(found.label, wanted.label)


def test_interrupted_work_goes_on_behind_finished_files(tmp_path, monkeypatch):
    base = planted()
    files = cut(base, tmp_path / "in", [500, 1000])
    wanted = deduplicate_sharded(files, tmp_path / "work", 0.9, **settings())
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("short.npy")}
    assert len(shards) == 3
    monkeypatch.setattr(FeatureCompressor, "transform", _once_only(FeatureCompressor.transform))
    again = deduplicate_sharded(files, tmp_path / "work", 0.9, **settings())
    np.testing.assert_array_equal(again.pairs, wanted.pairs)
    assert shards == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("short.npy")}


def _once_only(transform):
    calls = []

    def once(self, features):  # the sample that cells are learned from; no file is compressed again
        calls.append(len(features))
        assert len(calls) == 1
        return transform(self, features)

    return once


def test_ray_that_is_missing_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"kintsugi-vision\[cluster\]"), runner("ray", 2):
        pass


def test_answers_come_in_the_order_of_jobs_and_errors_end_the_work():
    with runner("processes", 2) as run:
        assert run(divmod, [(n, 3) for n in range(7)], "divide") == [divmod(n, 3) for n in range(7)]
        with pytest.raises(ZeroDivisionError):
            run(divmod, [(1, 0)], "divide")


def test_bad_input_is_named(tmp_path):
    files = cut(planted(400), tmp_path / "in", [])
    for name, value in {
        "similarity": 0,
        "slack": -1,
        "probes": 0,
        "cells": 0,
        "k": 0,
        "engine": "x",
        "workers": 0,
    }.items():
        with pytest.raises(BadArgument, match=name):
            deduplicate_sharded(files, tmp_path / "work", **{name: value})
    with pytest.raises(BadData, match="no file .*lost.npy"):
        deduplicate_sharded([tmp_path / "lost.npy"], tmp_path / "work")
    with pytest.raises(BadData, match="no files"):
        deduplicate_sharded([], tmp_path / "work")
    np.save(tmp_path / "bad.npy", np.full((80, 24), np.nan, np.float32))
    with pytest.raises(BadData, match="not finite"):
        deduplicate_sharded([*files, tmp_path / "bad.npy"], tmp_path / "work")
