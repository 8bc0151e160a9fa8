"""Uncommon settings: the table, u, and accuracy averaged within class, by hand and by enumeration."""

import numpy as np
import pyarrow as pa
import pytest

from kintsugi.audit.groups.uncommon_settings import UncommonSettings, _compared, _values, learn_table, uncommonness
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet


def rng():
    return np.random.default_rng(0)


def data_of(label, classes=("ship", "plane"), **columns):
    made = ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label, list(classes))
    for name, values in columns.items():
        made = made.with_column(name, pa.array(values))
    return made


TABLE = {"ship": {"time": ["night"], "place": ["forest", "sand"]}, "plane": {"time": ["night"], "place": ["water"]}}


def test_u_counts_attributes_and_one_uncommon_value_suffices():
    data = data_of(
        [0, 0, 0, 0, 1, 1],
        time=["day", "night", "none", None, "night", "day"],
        place=[["water"], ["water", "sand"], ["forest", "sand"], [], ["water", "sand"], ["forest"]],
    )
    values = {name: [_values(v) for v in data.column(name)] for name in ("time", "place")}
    assert uncommonness(data, values, TABLE).tolist() == [0, 2, 1, 0, 2, 0]


def test_text_joined_by_bars_is_several_values_and_none_is_no_value():
    assert _values("sand|water") == ("sand", "water")
    assert _values("None") == _values(None) == _values(float("nan")) == _values([]) == ()


def test_a_table_is_learned_from_the_training_part():
    label = [0] * 40 + [1] * 40
    time = ["day"] * 19 + ["night"] + ["night"] * 20 + ["night"] * 20 + ["day"] * 20
    split = (["train"] * 20 + ["test"] * 20) * 2
    data = data_of(label, time=time, split=split)
    values = {"time": [_values(v) for v in data.column("time")]}
    assert learn_table(data, values, 0.1) == {"ship": {"time": ["night"]}, "plane": {"time": ["day"]}}
    # 'none' is left out of the shares: one night of two known times is not uncommon, and five are too few to say
    values["time"] = [("day",)] * 2 + [()] * 38 + [("day",)] * 40
    assert "ship" not in learn_table(data, values, 0.1)


def answered(label, right):
    return np.eye(2)[np.where(right, label, 1 - np.asarray(label))]


def test_accuracy_is_averaged_within_class_first():
    # Ships are hard, and nearly all uncommon images are ships: within classes nothing changes.
    label = np.array([0] * 100 + [1] * 100)
    night = np.array([1] * 80 + [0] * 20 + [1] * 20 + [0] * 80, bool)
    right = np.concatenate([np.arange(80) < 40, np.arange(20) < 10, np.arange(20) < 20, np.arange(80) < 80])
    data = data_of(label, time=np.where(night, "night", "day").tolist())
    outputs = Outputs(data.ids, answered(label, right))
    found = UncommonSettings(["time"], {k: {"time": ["night"]} for k in data.classes})(data, outputs, rng())
    row = next(row for row in found if row.check == "uncommon_setting")
    assert row.evidence["accuracy"] == row.evidence["common"] == 0.75
    assert not row.flagged


def test_a_drop_is_flagged_and_its_p_value_is_the_exact_one():
    from scipy.stats import hypergeom

    label = np.zeros(60, int)
    odd = np.arange(60) < 20
    right = np.concatenate([np.arange(20) < 8, np.arange(40) < 34])
    mine, rest, classes, p = _compared(label, right, odd, ~odd, 20_000, rng())
    assert (mine, rest, classes) == (0.4, 0.85, 1)
    assert p == pytest.approx(hypergeom.cdf(8, 60, 42, 20), abs=1e-3)
    data = data_of(label, time=np.where(odd, "night", "day").tolist())
    found = UncommonSettings(["time"], {"ship": {"time": ["night"]}})(
        data, Outputs(data.ids, answered(label, right)), rng()
    )
    assert [row.ids[0] for row in found.flagged] == ["u=1"]
    values = {row.ids[0]: row.evidence["accuracy"] for row in found if row.check == "setting_accuracy"}
    assert values == {"time=day": 0.85, "time=night": 0.4}


def test_an_image_counts_in_the_row_of_each_of_its_values():
    data = data_of([0, 0, 0], place=[["sand", "water"], ["water"], ["sand"]])
    found = UncommonSettings(["place"])(data, Outputs(data.ids, answered([0, 0, 0], [1, 0, 1])), rng())
    counts = {row.ids[0]: row.evidence["count"] for row in found if row.check == "setting_accuracy"}
    assert counts == {"place=sand": 2, "place=water": 2}


def test_chance_is_seldom_flagged():
    alarms = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        label = draw.integers(0, 2, 200)
        time = np.where(draw.random(200) < 0.2, "night", "day")
        data = data_of(label, time=time.tolist())
        outputs = Outputs(data.ids, answered(label, draw.random(200) < 0.7))
        table = {k: {"time": ["night"]} for k in data.classes}
        alarms += len(UncommonSettings(["time"], table, drop=0.01, draws=200)(data, outputs, draw).flagged)
    assert alarms <= 8


def test_without_outputs_or_attributes_it_says_what_it_cannot_tell():
    data = data_of([0, 1] * 20, time=["day", "night"] * 20)
    assert any("cannot be told" in note for note in UncommonSettings()(data, None, rng()).summary.notes)
    assert "No column" in UncommonSettings()(data_of([0, 1]), None, rng()).summary.notes[0]


def test_a_table_of_other_classes_or_columns_is_refused():
    data = data_of([0, 1], time=["day", "night"])
    with pytest.raises(BadArgument, match="'boat'"):
        UncommonSettings(["time"], {"boat": {}})(data, None, rng())
    with pytest.raises(BadArgument, match="'weather'"):
        UncommonSettings(["time"], {"ship": {"weather": ["fog"]}})(data, None, rng())
    with pytest.raises(BadArgument, match="attributes"):
        UncommonSettings("time")
