"""Clusters planted in the features come back; one blob stays one group; the model's shortcut shows in its features."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.imageset import ImageSet
from kintsugi.discover.slices.george import George


def outputs_of(data, features):
    return Outputs(data.ids, np.full((len(data), len(data.classes)), 1 / len(data.classes)), features)


def blobs(counts, apart, seed=0):
    """Per class a number of blobs in 16 dimensions."""
    rng = np.random.default_rng(seed)
    label, hidden, rows = [], [], []
    for k, count in enumerate(counts):
        for c in range(count):
            centre = rng.normal(0, apart, 16)
            rows.append(centre + rng.normal(0, 1, (60, 16)))
            label += [k] * 60
            hidden += [f"{k}-{c}"] * 60
    data = ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label)
    return data, np.concatenate(rows), np.array(hidden)


def test_planted_clusters_come_back_in_every_class():
    data, features, hidden = blobs([1, 2, 3], apart=4.0)
    groups = George()(data, outputs_of(data, features), np.random.default_rng(0))
    assert len(groups) == 6
    assert adjusted_rand_score(hidden, groups.index) == 1.0
    assert groups.names[:3] == ("class=0, cluster=0", "class=1, cluster=0", "class=1, cluster=1")


def test_one_blob_is_one_group():
    data, features, _ = blobs([1, 1], apart=4.0)
    assert len(George()(data, outputs_of(data, features), np.random.default_rng(0))) == 2


def test_constant_features_and_tiny_classes_are_one_group():
    data = ImageSet.from_arrays(np.zeros((7, 2, 2), np.uint8), [0, 0, 0, 0, 0, 1, -1])
    groups = George()(data, outputs_of(data, np.ones((7, 4))), np.random.default_rng(0))
    assert groups.index.tolist() == [0, 0, 0, 0, 0, 1, -1]


def test_a_shortcut_in_the_features_is_recovered_on_real_images():
    data = DigitsOnPhotos().every_group("valid", 0)
    image = np.stack([data[k].image for k in range(len(data))]) / 255.0
    colour = image.mean((1, 2))  # what a student that leans on the background sees
    groups = George()(data, outputs_of(data, colour * 10), np.random.default_rng(0))
    background = data.column("background").astype(str)
    for k in range(2):
        rows = data.labels == k
        assert adjusted_rand_score(background[rows], groups.index[rows]) > 0.5


def test_bad_input_is_answered():
    data, features, _ = blobs([1, 1], apart=4.0)
    with pytest.raises(BadData, match="features"):
        George()(data, outputs_of(data, None), np.random.default_rng(0))
    with pytest.raises(BadArgument, match="outputs"):
        George()(data.select([1, 0]), outputs_of(data, features), np.random.default_rng(0))
    with pytest.raises(BadArgument, match="components"):
        George(components=0)
