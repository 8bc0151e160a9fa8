"""The cuts of the digits that trials share, and every small trial's declaration."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.prove import trials
from kintsugi.prove.runner import trial_of
from kintsugi.prove.small import digits, only, whole


def test_train_and_test_share_no_digit_and_change_with_the_seed():
    train, test = digits(0)
    assert (len(train), len(test)) == (1000, 797)
    assert not set(train.ids) & set(test.ids)
    assert train.ids != digits(1)[0].ids
    assert train.ids == digits(0)[0].ids


def test_only_keeps_the_pixels_of_its_classes():
    data = digits(0)[1]
    part = only(data, (3, 7))
    assert part.classes == ("3", "7")
    rows = np.flatnonzero(np.isin(data.labels, (3, 7)))
    assert part.ids == [data.ids[row] for row in rows]
    assert np.array_equal(part.labels, (data.labels[rows] == 7).astype(int))
    assert np.array_equal(part[5].image, data[int(rows[5])].image)


def test_a_whole_set_is_one_batch_in_its_order():
    data = digits(0, side=16)[1].select(range(9))
    batch = whole(data)
    assert batch.image.shape == (9, 3, 16, 16)
    assert batch.label.tolist() == data.labels.tolist()
    assert np.array_equal((batch.image[4].permute(1, 2, 0).numpy() * 255).round(), data[4].image)


SMALL = sorted({path.stem for path in Path(trials.__path__[0]).glob("[a-z]*.py")} - {"config"})


@pytest.mark.parametrize("name", SMALL)
def test_trials_pickle_and_refuse_unknown_settings(name):
    trial = trial_of(name)
    assert pickle.loads(pickle.dumps(trial)).claims == trial.claims
    with pytest.raises(BadArgument, match="setting"):
        trial_of(name, "huge")


@pytest.mark.parametrize(
    ("name", "setting"), [("confident_learning", "cifar10n"), ("near_duplicates", "cifar"), ("broken_files", "photos")]
)
def test_trials_on_given_data_say_what_is_missing(name, setting, monkeypatch, tmp_path):
    monkeypatch.setenv("KINTSUGI_DATA", str(tmp_path))
    with pytest.raises(BadData, match="KINTSUGI_DATA"):
        list(trial_of(name, setting).measure(0, None))
