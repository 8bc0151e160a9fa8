"""Clusters planted in the features come back; one blob stays one group; the model's shortcut shows in its features."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch.nn import functional

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import numpy_rng, torch_rng
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.imageset import ImageSet
from kintsugi.discover.slices.george import George
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN


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


def test_the_number_of_clusters_is_that_of_the_highest_silhouette():
    """On a stretched grid of four blobs a gain over one blob, whose silhouette falls with the number, would say 3."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]])
    features = np.concatenate([rng.normal(centre, 0.25, (40, 2)) for centre in centres])
    data = ImageSet.from_arrays(np.zeros((160, 2, 2), np.uint8), [0] * 160)
    groups = George()(data, outputs_of(data, features), numpy_rng(0, "a"))
    assert adjusted_rand_score(np.repeat(range(4), 40), groups.index) == 1.0


def test_one_blob_is_one_group():
    data, features, _ = blobs([1, 1], apart=4.0)
    assert len(George()(data, outputs_of(data, features), np.random.default_rng(0))) == 2


def test_constant_features_and_tiny_classes_are_one_group():
    data = ImageSet.from_arrays(np.zeros((7, 2, 2), np.uint8), [0, 0, 0, 0, 0, 1, -1])
    groups = George()(data, outputs_of(data, np.ones((7, 4))), np.random.default_rng(0))
    assert groups.index.tolist() == [0, 0, 0, 0, 0, 1, -1]


def leaning_features(data, seed):
    """Features of a small net trained where class and background always go together."""
    train = DigitsOnPhotos().mixed(400, 0.0, "pool", seed)
    image, label = pixels(train), torch.from_numpy(train.labels)
    net = SmallCNN(2, width=16, rng=torch_rng(seed, "weights"))
    optimizer, order = torch.optim.Adam(net.parameters(), 2e-3), torch_rng(seed, "order")
    for _ in range(8):
        for rows in torch.randperm(len(label), generator=order).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(net(image[rows]), label[rows]).backward()
            optimizer.step()
    model = TorchModel(net.eval(), train.classes)
    with torch.no_grad():
        return model.features(pixels(data)).numpy()


def pixels(data):
    return torch.from_numpy(np.stack([data[k].image for k in range(len(data))])).permute(0, 3, 1, 2) / 255.0


def test_the_shortcut_of_a_trained_net_shows_in_its_groups_and_not_in_the_pixels():
    """Over four seeds: agreement 0.37 to 0.44 against 0.21 to 0.30 on pixels, purity 0.85 to 0.92 against 0.78 to 0.82.

    Agreement stays far from 1 because the photographs' tiles differ: a background comes out as several clusters.
    """
    data = DigitsOnPhotos().every_group("valid", 0, times=4)
    background = data.column("background").astype(str)

    def agreement(features):
        groups = George()(data, outputs_of(data, features), np.random.default_rng(0))
        index = [groups.index[data.labels == k] for k in range(2)]
        wanted = [background[data.labels == k] for k in range(2)]
        most = [np.unique(background[groups.members(g)], return_counts=True)[1].max() for g in range(len(groups))]
        return np.mean([adjusted_rand_score(a, b) for a, b in zip(wanted, index, strict=True)]), sum(most) / len(data)

    leaning, plain = agreement(leaning_features(data, 0)), agreement(pixels(data).flatten(1).numpy())
    assert leaning[0] > plain[0] + 0.05
    assert leaning[1] > 0.85 > plain[1]


def test_bad_input_is_answered():
    data, features, _ = blobs([1, 1], apart=4.0)
    with pytest.raises(BadData, match="features"):
        George()(data, outputs_of(data, None), np.random.default_rng(0))
    with pytest.raises(BadArgument, match="outputs"):
        George()(data.select([1, 0]), outputs_of(data, features), np.random.default_rng(0))
    with pytest.raises(BadArgument, match="components"):
        George(components=0)
