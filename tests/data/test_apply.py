"""Decisions become a view and a patch; the patch undoes them."""

import json

import numpy as np
import pytest
from data_pictures import image
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.decision import Decision, read_decisions, write_decisions
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.apply import apply_decisions
from kintsugi.data.imageset import ImageSet


def some(count=8):
    pixels = np.stack([image(k) for k in range(count)])
    return ImageSet.from_arrays(
        pixels, [k % 3 for k in range(count)], ["cat", "dog", "x|y"], place=list("abcdefgh")[:count]
    )


def decide(data, finding, ids, action="relabel", labels=(), verdict="accept"):
    ids = tuple(f"{k:06d}" for k in ids)
    return Decision(data.fingerprint, ids, finding, verdict, action, tuple(labels), "anna")


def test_relabel_and_drop():
    data = some()
    changed, patch = apply_decisions(
        data,
        [
            decide(data, "f1", [0], labels=["dog"]),
            decide(data, "f2", [1, 2], "drop"),
            decide(data, "f3", [3], labels=["dog"], verdict="reject"),
            decide(data, "f4", [4], "keep"),
            decide(data, "f5", [5], "drop", verdict="unsure"),
        ],
    )
    assert changed.ids == [f"{k:06d}" for k in (0, 3, 4, 5, 6, 7)]
    assert changed.labels.tolist() == [1, 0, 1, 2, 0, 1]
    assert changed.source is data.source
    assert changed.target is None
    assert [(c.id, c.action, c.before, c.after) for c in patch.changes] == [
        ("000000", "relabel", "cat", "dog"),
        ("000001", "drop", "dog", ""),
        ("000002", "drop", "x|y", ""),
    ]
    assert json.loads(json.dumps(patch.as_dict()))["changes"][0]["reviewer"] == "anna"
    assert data.labels[0] == 0


def test_several_right_labels_share_the_soft_label():
    data = some()
    changed, patch = apply_decisions(
        data, [decide(data, "f", [0, 1, 2, 3], labels=["cat|dog", "x|y", "cat|dog", "dog|cat|dog"])]
    )
    assert changed.labels.tolist()[:4] == [0, 2, 0, 0]  # stays where it is right, else the first
    assert np.allclose(changed.target[:4], [[0.5, 0.5, 0], [0, 0, 1], [0.5, 0.5, 0], [0.5, 0.5, 0]])
    assert np.array_equal(changed.target[4:], np.eye(3)[data.labels[4:]])
    assert patch.changes[3].after == "dog|cat"


def test_the_last_decision_counts_and_a_drop_counts_most():
    data = some()
    changed, _ = apply_decisions(data, [decide(data, "f", [0], "drop"), decide(data, "f", [0], labels=["dog"])])
    assert changed.labels[0] == 1
    changed, patch = apply_decisions(
        data,
        [
            decide(data, "f", [0], labels=["dog"]),
            decide(data, "g", [0], labels=["x|y"]),
            decide(data, "h", [1], "drop"),
            decide(data, "i", [1], labels=["cat"]),
        ],
    )
    assert changed.ids[:2] == ["000000", "000002"]
    assert changed.labels[0] == 2
    assert patch.overruled == ("f", "i")


def test_what_does_not_belong_is_refused(tmp_path):
    data = some()
    for bad in (
        Decision("elsewhere", ("000000",), "f", "accept", "drop"),
        decide(data, "f", [99], "drop"),
        decide(data, "f", [0], labels=["wolf"]),
        decide(data, "f", [0], labels=["cat|wolf"]),
    ):
        with pytest.raises(BadData, match="'f'"):
            apply_decisions(data, [bad])
    with pytest.raises(BadArgument, match="decisions"):
        apply_decisions(data, ["drop it"])
    write_decisions(tmp_path / "d.jsonl", [decide(data, "f", [0], "drop")])
    with pytest.raises(BadData, match="another data set"):
        read_decisions(tmp_path / "d.jsonl", data.select([0, 1]).fingerprint)
    changed, _ = apply_decisions(data, read_decisions(tmp_path / "d.jsonl", data.fingerprint))
    assert len(changed) == 7


def test_nothing_decided_changes_nothing():
    data = some()
    changed, patch = apply_decisions(data, [])
    assert changed.table.equals(data.table)
    assert len(patch) == 0
    assert patch.undo(changed).table.equals(data.table)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True),
            st.sampled_from(["drop", "cat", "dog", "cat|dog", "x|y"]),
        ),
        max_size=5,
    )
)
def test_undoing_gives_the_data_back(choices):
    data = some()
    decisions = [
        decide(data, f"f{number}", ids, "drop") if what == "drop"
        else decide(data, f"f{number}", ids, labels=[what] * len(ids))
        for number, (ids, what) in enumerate(choices)
    ]  # fmt: skip
    changed, patch = apply_decisions(data, decisions)
    back = patch.undo(changed)
    assert back.table.equals(data.table)
    assert back.fingerprint == data.fingerprint
    assert np.array_equal(back.rows, data.rows)
    dropped = {change.id for change in patch.changes if change.action == "drop"}
    assert changed.ids == [name for name in data.ids if name not in dropped]


def test_undoing_keeps_columns_added_since_and_refuses_other_data():
    data = some()
    changed, patch = apply_decisions(data, [decide(data, "f", [0], "drop"), decide(data, "g", [1], labels=["cat"])])
    back = patch.undo(changed.with_column("seen", [1] * 7))
    assert back.labels.tolist() == data.labels.tolist()
    assert back.column("seen").tolist() == [None, 1, 1, 1, 1, 1, 1, 1]
    with pytest.raises(BadData, match="other data"):
        patch.undo(some())
    with pytest.raises(BadData, match="never saw"):
        patch.undo(data)
