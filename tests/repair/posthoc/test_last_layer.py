"""Last-layer retraining: its logits are scikit-learn's decision function, and it forgets a shortcut."""

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.repair.posthoc.last_layer import LastLayer, balanced


class Pixels(nn.Module):
    """Features are the pixels of the first channel."""

    def __init__(self, classes, size):
        super().__init__()
        self.classes = classes
        self.linear = nn.Linear(size, len(classes)).double()

    def features(self, image, at=None):
        return image[:, 0].flatten(1).double()

    def forward(self, image):
        return self.linear(self.features(image))

    def head(self):
        return self.linear

    def copy(self):
        return copy.deepcopy(self)


def cue(count=400, classes=2, seed=0):
    """Pixel 0 tells the class, softly; pixel 1 tells it better in nine of ten, the other way in the tenth."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, count)
    odd = rng.random(count) < 0.1
    image = rng.integers(0, 100, (count, 2, 2))
    image[:, 0, 0] += 50 * label
    image[:, 0, 1] += 70 * np.where(odd, (label + 1) % classes, label)
    names = tuple("abc"[:classes])
    return ImageSet.from_arrays(np.minimum(image, 255).astype(np.uint8), label, names, group=label * 2 + odd)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("classes", [2, 3])
def test_logits_are_the_decision_function(penalty, classes):
    data = cue(300, classes)
    rows = np.concatenate([np.flatnonzero(data.labels == k)[:80] for k in range(classes)])  # balanced: one draw is all
    data = data.select(rows)
    model = Pixels(data.classes, 4)
    before = copy.deepcopy(model.state_dict())
    repaired = LastLayer(penalty, strength=0.3, draws=1, balance="class")(model, data, np.random.default_rng(0))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    x = data.source.image[data.rows].reshape(len(data), -1) / 255.0
    solver = "liblinear" if classes == 2 else "saga" if penalty == "l1" else "lbfgs"
    words = {"l1_ratio": float(penalty == "l1")}
    if LogisticRegression().get_params()["penalty"] != "deprecated":
        words = {"penalty": penalty}
    net = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.3, solver=solver, max_iter=2000, random_state=0, **words)
    )
    expected = net.fit(x, data.labels).decision_function(x)
    with torch.no_grad():
        image = torch.tensor(x.reshape(-1, 1, 2, 2), dtype=torch.float32).expand(-1, 3, -1, -1)
        logits = repaired(image).numpy()
    found = logits[:, 1] - logits[:, 0] if classes == 2 else logits
    np.testing.assert_allclose(found, expected, atol=2e-2 if solver in ("saga", "liblinear") else 1e-3)


def worst(model, data):
    image = torch.tensor(data.source.image[data.rows]).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 255.0
    with torch.no_grad():
        hit = (model(image).argmax(1).numpy() == data.labels).astype(float)
    return min(hit[data.column("group") == g].mean() for g in np.unique(data.column("group")))


def test_balance_lifts_the_worst_group():
    held, test = cue(600, seed=1), cue(2000, seed=2)
    model = Pixels(held.classes, 4)
    rng = np.random.default_rng
    by_class = LastLayer(balance="class", draws=3)(model, held, rng(0))
    by_group = LastLayer(draws=10)(model, held, rng(0))
    assert worst(by_group, test) > worst(by_class, test) + 0.1
    again = LastLayer(draws=10)(model, held, rng(0))
    assert torch.equal(again.linear.weight, by_group.linear.weight)


def test_a_group_of_one_sample_is_used_whole():
    data = cue(600, seed=1)
    odd = np.flatnonzero(data.column("group") == 1)
    held = data.select(np.sort(np.concatenate([np.flatnonzero(data.column("group") != 1), odd[:1]])))
    model = Pixels(held.classes, 4)
    model.notes = ("a note of its own",)
    repaired = LastLayer(draws=3)(model, held, np.random.default_rng(0))
    assert model.notes == ("a note of its own",)
    assert "1 of 4 groups" in repaired.notes[1]
    assert "1 of one sample had no say" in repaired.notes[1]
    assert worst(repaired, cue(2000, seed=2)) > 0.3  # cut to one sample a group, the layer is noise
    assert not hasattr(LastLayer(draws=1)(Pixels(data.classes, 4), data, np.random.default_rng(0)), "notes")


def test_small_groups_count_as_much_as_others():
    group = np.repeat([0, 1, 2], [100, 4, 1])
    rows, share = balanced(group, 10, np.random.default_rng(0))
    assert np.bincount(group[rows]).tolist() == [10, 4, 1]
    np.testing.assert_allclose(np.bincount(group[rows], weights=share), [10, 10, 10])
    rows, share = balanced(group, 1, np.random.default_rng(0))  # the paper: every group cut to the smallest
    assert np.bincount(group[rows]).tolist() == [1, 1, 1]
    assert set(share) == {1.0}
    with pytest.raises(BadArgument, match="least"):
        LastLayer(least=0)


def test_what_is_missing_is_named():
    data, model, rng = cue(40), Pixels(("a", "b"), 4), np.random.default_rng(0)
    with pytest.raises(BadData, match="without samples: b"):
        LastLayer()(model, data.where(label="a"), rng)
    plain = ImageSet(data.source, data.table.drop_columns(["group"]), data.classes)
    with pytest.raises(BadData, match="group labels"):
        LastLayer(balance="group")(model, plain, rng)
    alone = data.select([int(np.flatnonzero(data.labels == k)[0]) for k in (0, 1)])
    with pytest.raises(BadData, match="No group has two samples"):
        LastLayer()(model, alone.with_column("group", [0, 1]), rng)
    model.linear = nn.Linear(4, 2, bias=False)
    with pytest.raises(BadArgument, match="bias"):
        LastLayer()(model, data, rng)
