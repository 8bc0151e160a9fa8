"""The encoder: kept by content, blind to labels, the same on being asked again, and better than none."""

import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.progress import shown
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.models.cache import embed
from kintsugi.ops.neighbours import nearest
from kintsugi.training import self_supervised
from kintsugi.training.self_supervised import Tower, train_encoder


def digits(count, start=0):
    raw = load_digits()
    pixels = np.rint(raw.images[start : start + count] / 16 * 255).astype(np.uint8)
    return ImageSet.from_arrays(pixels, raw.target[start : start + count])


def test_an_encoder_is_trained_once_for_the_same_images(tmp_path, monkeypatch):
    data, run = digits(64), Run(tmp_path)
    first = train_encoder(data, epochs=1, size=16, run=run, device="cpu")
    monkeypatch.setattr(self_supervised, "fit", None)  # nothing is trained again
    again = train_encoder(data.relabel(np.zeros(64, int)), epochs=1, size=16, run=run, device="cpu")
    assert first.fingerprint == again.fingerprint
    assert first.name == again.name
    image = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(image), again(image))
    assert first(image).shape == (3, 256)
    with pytest.raises(TypeError):
        train_encoder(digits(64, 64), epochs=1, size=16, run=run, device="cpu")  # other images: another encoder


def test_interrupted_work_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    data = digits(64)
    whole = train_encoder(data, epochs=2, size=16, run=Run(tmp_path / "a"), device="cpu")
    real = self_supervised.SimCLR.step

    def broken(self, model, batch, optimizer):
        broken.left -= 1
        if broken.left < 0:
            raise KeyboardInterrupt
        return real(self, model, batch, optimizer)

    broken.left = 4 + 1  # the four steps that are timed, and one
    monkeypatch.setattr(self_supervised.SimCLR, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(data, epochs=2, size=16, run=Run(tmp_path / "b"), device="cpu")
    monkeypatch.setattr(self_supervised.SimCLR, "step", real)
    after = train_encoder(data, epochs=2, size=16, run=Run(tmp_path / "b"), device="cpu")
    assert after.fingerprint == whole.fingerprint


def test_the_clock_chooses_the_epochs_and_the_run_keeps_them(tmp_path, monkeypatch):
    data = digits(64)
    for seconds, epochs, steps in ((4.0, 5, None), (24.1, None, 1), (1e-4, 60, None)):
        monkeypatch.setattr(self_supervised, "_seconds_a_step", lambda *given, each=seconds: each)
        kept = Run(tmp_path / str(seconds))
        plan = self_supervised._planned(Tower(16), data, None, kept, "cpu")
        assert (plan["epochs"], plan["steps"]) == (epochs, steps)  # four fifths of half a minute, the least there is
        assert plan["minutes"] == pytest.approx((epochs or steps) * seconds / 60)
        monkeypatch.setattr(self_supervised, "_seconds_a_step", None)
        assert self_supervised._planned(Tower(16), data, None, kept, "cpu") == plan


def test_large_sets_on_slow_machines_are_seen_in_part(monkeypatch):
    small = ImageSet.from_arrays(np.zeros((10_000, 16, 16), np.uint8), [0] * 10_000)
    for seconds, spent, epochs, steps in (
        (1.0, 0, 5, None),
        (1.0, 100, 3, None),
        (7.0, 0, None, 32),
        (7.0, 999, None, 1),
    ):
        monkeypatch.setattr(self_supervised, "_seconds_a_step", lambda *given, each=seconds: each)
        plan = self_supervised._planned(Tower(16), small, None, Run(None), "cpu", spent)
        assert (plan["epochs"], plan["steps"]) == (epochs, steps)
        assert plan["minutes"] <= 4 or spent


def test_training_ends_when_its_time_is_up_and_both_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(self_supervised, "_seconds_a_step", lambda *given: 1e-3)  # far too sure of itself
    monkeypatch.setattr(self_supervised, "LEAST", 0.5)
    monkeypatch.setattr(self_supervised, "SECONDS", 0.5)
    data, run = digits(64), Run(tmp_path)
    with shown():
        started = time.monotonic()
        encoder = train_encoder(data, size=16, run=run, device="cpu")
        took = time.monotonic() - started
    said = capsys.readouterr().err
    assert "Training an encoder of 64 images: 60 epochs, about 0.0 minutes, at most 0.0." in said
    assert "The encoder's time is up after" in said
    assert took < 3
    assert np.isfinite(embed(encoder, data)).all()
    assert train_encoder(data, size=16, run=run, device="cpu").fingerprint == encoder.fingerprint


def test_sizes_and_colours_may_be_mixed():
    small, rng = digits(40), np.random.default_rng(0)
    large = ImageSet.from_arrays(
        rng.integers(0, 256, (24, 20, 31, 3), dtype=np.uint8),
        np.zeros(24, int),
        small.classes,
        id=list(map(str, range(24))),
    )
    mixed = ImageSet.concat([small, large])
    encoder = train_encoder(mixed, epochs=1, device="cpu")
    assert np.isfinite(embed(encoder, mixed)).all()


def test_the_side_follows_the_images():
    for side, wanted in ((28, 32), (64, 64), (300, 96)):
        data = ImageSet.from_arrays(np.zeros((3, side, side + 9, 3), np.uint8), [0] * 3)
        assert self_supervised._side(data) == wanted
        assert Tower(wanted)(torch.zeros(2, 3, wanted, wanted)).shape == (2, 64)


@pytest.mark.slow
def test_neighbours_by_a_trained_encoder_share_labels_more_than_by_a_random_one():
    data = digits(600)

    def share(encoder):
        return (data.labels[nearest(embed(encoder, data), 5)[1]] == data.labels[:, None]).mean()

    trained = train_encoder(data, epochs=10, size=16, device="cpu")
    net = Tower(16)
    random = type(trained)(net.body, trained.preprocess, "random").eval()
    assert share(trained) > share(random) + 0.01


def test_what_cannot_be_is_said():
    with pytest.raises(BadData, match="There are 1 images"):
        train_encoder(digits(1))
    with pytest.raises(BadArgument, match="size"):
        train_encoder(digits(8), size=4)
    with pytest.raises(BadArgument, match="epochs"):
        train_encoder(digits(8), epochs=0)
