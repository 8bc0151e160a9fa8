"""The card's check on digits: no error where none is needed, and the floor where labels contradict each other."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import TorchModel
from kintsugi.models.predict import predict
from kintsugi.models.seeded import seeded
from kintsugi.recipes import continuation
from kintsugi.recipes.continuation import Continuation, _nearest_right
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

PLAIN = Training(steps=400, batch_size=1000, lr=0.1, optimizer="sgd", schedule="constant", device="cpu")


class Grey(nn.Module):
    """64-8-10 on the first channel."""

    def __init__(self, hidden, seed):
        super().__init__()
        with seeded(torch_rng(seed)):
            self.first, self.last = nn.Linear(64, hidden), nn.Linear(hidden, 10)

    def forward(self, image):
        return self.last(torch.tanh(self.first(image[:, 0].flatten(1) * 4)))


def net(hidden=8, seed=0):
    return TorchModel(Grey(hidden, seed), [str(k) for k in range(10)])


def digits(n, doubles=0, seed=0):
    image, label = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(label))[:n]
    image = np.rint(image[rows].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    label = label[rows]
    image, label = np.concatenate([image, image[:doubles]]), np.concatenate([label, (label[:doubles] + 1) % 10])
    return ImageSet.from_arrays(np.repeat(image, 3, axis=3), label, [str(k) for k in range(10)])


def residual(run):
    return run.metrics()[-1]


@pytest.mark.slow
def test_the_cards_check():
    model, run = net(), Run(None)
    Continuation()(model, digits(1000), partial(fit, how=PLAIN), 0, run)
    assert residual(run)["errors"] == 0
    assert residual(run)["s"] == 1


@pytest.mark.slow
def test_double_labels_are_what_remains():
    data, model, run = digits(300, doubles=10), net(seed=1), Run(None)
    how = Training(steps=200, batch_size=310, lr=0.1, optimizer="sgd", schedule="constant", device="cpu")
    Continuation(finest=0.02, steps=200)(model, data, partial(fit, how=how), 1, run)
    last = residual(run)
    assert last["floor"] == last["errors"] == 10
    doubled = [{f"{k:06d}", f"{300 + k:06d}"} for k in range(10)]
    hit = sum(len(pair & set(last["residual"])) == 1 for pair in doubled)
    assert hit >= 9
    assert last["double_labels"] >= 9


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    data = digits(60)
    how = Training(steps=20, batch_size=60, lr=0.1, optimizer="sgd", schedule="constant", device="cpu")

    def train(name):
        model = net(hidden=4)
        Continuation(steps=30, finest=0.1)(model, data, partial(fit, how=how), 0, Run(tmp_path / name))
        return model.state_dict()

    whole, keep, kept = train("whole"), continuation._Tunnel._keep, []

    def dying(self, stride, reached):
        keep(self, stride, reached)
        kept.append(self.s)
        if len(kept) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(continuation._Tunnel, "_keep", dying)
        train("killed")
    again = train("killed")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert (tmp_path / "killed" / "findings.parquet").exists()


def test_the_clone_is_asked_and_checked():
    image, label = torch.rand(5, 1, 4, 4, generator=torch_rng(0)), torch.tensor([0, 1, 0, 1, 1])
    made = _nearest_right(image[:2] + 0.01, label[:2], image, label)
    assert torch.equal(made, image[:2])
    data, model = digits(200), net()
    fit(model, data, ERM(), how=replace(PLAIN, steps=15))
    said = predict(model, data).predicted
    assert len(set(data.labels[said == data.labels]) & set(data.labels[said != data.labels])) > 1

    def black(image, label, right, right_label):
        return torch.zeros_like(image)

    with pytest.raises(BadData, match="clones are not classified"):
        Continuation(clone=black, trained=True)(model, data, fit, 0, Run(None))


def test_bad_arguments_are_refused_by_name():
    for name, value in {"stride": 0, "finest": 0.5, "steps": 0, "lr": 0, "momentum": 1, "eps": -1}.items():
        with pytest.raises(BadArgument, match=name):
            Continuation(**{name: value})
    data = digits(20)
    with pytest.raises(BadData, match="label"):
        Continuation()(net(), data.relabel(np.full(20, -1)), fit, 0, Run(None))
