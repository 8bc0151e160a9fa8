"""Logits after each epoch against the model's own, an interruption, and closed forms of what is read from them."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.core.run import Run
from kintsugi.models.base import TorchModel
from kintsugi.models.small import SmallCNN
from kintsugi.prove.small import digits, whole
from kintsugi.training.fit import fit
from kintsugi.training.logit_log import LogitHistory, LogitLog, head_history
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training

DATA = digits(0, train=120)[0]


def net():
    return TorchModel(SmallCNN(10, width=4, rng=torch_rng(0, "weights")), DATA.classes)


def how(**more):
    return Training(epochs=3, batch_size=32, lr=3e-3, device="cpu", **more)


def test_the_last_epoch_is_what_the_trained_model_says_and_each_is_another():
    log, model = LogitLog(DATA), net()
    fit(model, DATA, ERM(), how=how(), hooks=[log])
    assert len(log.history) == 3
    with torch.no_grad():
        said = model(whole(DATA).image).numpy()
    np.testing.assert_allclose(log.history.logits(), said, atol=0.01)
    assert not np.array_equal(log.history.logits(0), log.history.logits(1))
    bare = net()
    fit(bare, DATA, ERM(), how=how())
    for one, two in zip(model.state_dict().values(), bare.state_dict().values(), strict=True):
        assert torch.equal(one, two)  # looking on changes nothing


class Stopped(Exception):
    pass


class Stop:
    armed = False

    def on_step(self, loop):
        if self.armed and loop.step == 10:  # in the third epoch; the last checkpoint is of step 8
            raise Stopped


@pytest.mark.parametrize("stored", [False, True])
def test_an_interrupted_training_goes_on_logging(tmp_path, stored):
    def train(name, armed, folder=None):
        log, Stop.armed = LogitLog(DATA, folder), armed
        fit(net(), DATA, ERM(), how=how(checkpoint_every=4), hooks=[log, Stop()], run=Run(tmp_path / name))
        return log.history

    through = train("through", False)
    with pytest.raises(Stopped):
        train("cut", True, tmp_path / "logits" if stored else None)
    resumed = train("cut", False, tmp_path / "logits" if stored else None)
    assert len(resumed) == len(through) == 3
    for epoch in range(3):
        np.testing.assert_array_equal(resumed.logits(epoch), through.logits(epoch))
    if stored:
        (tmp_path / "logits" / "epoch-0000.npy").unlink()
        with pytest.raises(BadData, match="lacks epoch 0"):
            resumed.restore(2)


def test_margins_and_losses():
    history = LogitHistory(["a", "b"])
    history.add(np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]))
    history.add(np.array([[4.0, 0.0, 1.0], [2.0, 0.0, 1.0]]))
    np.testing.assert_allclose(history.area_under_margin(np.array([0, 1])), [(1 + 3) / 2, (2 - 2) / 2])
    expected = np.log(np.exp([4.0, 0, 1]).sum()) - 4
    np.testing.assert_allclose(history.losses(np.array([0, 1]))[0], expected, rtol=1e-3)
    history.add(np.full((2, 3), 1e30))
    assert np.isfinite(history.logits()).all()
    with pytest.raises(BadData, match="3 rows"):
        history.add(np.zeros((3, 3)))
    with pytest.raises(BadArgument, match="epoch"):
        history.logits(3)


def test_a_log_too_large_for_memory_is_refused_before_training():
    log = LogitLog(DATA)
    log.memory = 0.001
    with pytest.raises(BadArgument, match="folder"):
        fit(net(), DATA, ERM(), how=how(), hooks=[log])


def test_a_head_learns_and_wrong_labels_have_the_smaller_area():
    raw = load_digits()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(raw.target)) < 0.2
    label = np.where(wrong, (raw.target + rng.integers(1, 10, len(wrong))) % 10, raw.target)
    ids = [str(n) for n in range(len(label))]
    state = torch.get_rng_state()
    history = head_history(raw.data, label, ids, 10, epochs=10, rng=np.random.default_rng(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert (history.logits().argmax(axis=1) == raw.target).mean() > 0.85
    area = history.area_under_margin(label)
    assert (area[wrong][:, None] < area[~wrong]).mean() > 0.97
    again = head_history(raw.data, label, ids, 10, epochs=10, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(history.logits(), again.logits())
    with pytest.raises(BadArgument, match="hidden"):
        head_history(raw.data, label, ids, 10, hidden=-1, rng=rng)
