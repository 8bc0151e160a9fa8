"""Garments on coloured grounds: disjoint parts, exact shares, and a clear answer where the data is not there."""

import os

import numpy as np
import pytest

from kintsugi.core.errors import BadData
from kintsugi.data.compose import coloured_fashion
from kintsugi.data.compose.coloured_fashion import ColouredFashion


def test_missing_data_is_answered(monkeypatch, tmp_path):
    coloured_fashion._arrays.cache_clear()
    monkeypatch.setenv("KINTSUGI_DATA", str(tmp_path))
    with pytest.raises(BadData, match="KINTSUGI_DATA"):
        ColouredFashion()


@pytest.mark.data
@pytest.mark.skipif("KINTSUGI_DATA" not in os.environ, reason="needs KINTSUGI_DATA")
def test_shares_are_exact_and_grounds_have_their_colour():
    coloured_fashion._arrays.cache_clear()
    world = ColouredFashion()
    data = world.mixed(200, 0.05, "pool", 0)
    rare = (data.labels == 0) != (data.column("ground") == "red")
    assert rare.sum() == 10
    image = np.stack([data[k].image for k in range(200)])
    corner = image[:, :2, :2].mean((1, 2))
    assert ((corner[:, 0] > corner[:, 1]) == (data.column("ground") == "red")).mean() > 0.95
    test = world.every_group("test", 0)
    assert test.groups("label", "ground").counts.tolist() == [500] * 4
    assert len(set(test.column("garment"))) == 1000
