"""The plan, the votes and what is concluded: by hand, and with simulated reviewers."""

import numpy as np
import pytest

from kintsugi.audit.protocol.audit_protocol import AuditProtocol
from kintsugi.audit.protocol.votes import Vote, majority, read_votes, verdict_table, write_votes
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.ops.statistics import wilson


def data_of(label, classes="abc"):
    return ImageSet.from_arrays(np.zeros((len(label), 2, 2), np.uint8), label, list(classes))


def rng():
    return np.random.default_rng(0)


def by_check(findings, check):
    return [row for row in findings if row.check == check]


def test_nobody_reviewed_means_a_plan_and_no_rate():
    data = data_of(np.arange(90) % 3)
    prob = np.full((90, 3), 1 / 3)
    prob[:10] = [[0.98, 0.01, 0.01]] * 10
    found = AuditProtocol(per_class=5, queue=7)(data, Outputs(data.ids, prob), rng())
    assert found.summary.count is None
    assert "cannot be told" in found.summary.notes[0]
    lot = [row.ids[0] for row in by_check(found, "review_uniform")]
    queue = by_check(found, "review_queue")
    assert np.bincount(data.labels[[data.ids.index(name) for name in lot]]).tolist() == [5, 5, 5]
    assert len(queue) == 7
    assert not {row.ids[0] for row in queue} & set(lot)
    left = (
        1
        - prob[
            [i for i, name in enumerate(data.ids) if name not in lot],
            data.labels[[i for i, name in enumerate(data.ids) if name not in lot]],
        ]
    )
    assert [row.score for row in queue] == pytest.approx(sorted(left, reverse=True)[:7])


def test_scores_of_another_check_order_the_queue():
    data = data_of(np.zeros(30, int))
    scores = {name: i / 100 for i, name in enumerate(data.ids)}
    found = AuditProtocol(scores=scores, per_class=1, queue=3)(data, None, rng())
    drawn = by_check(found, "review_uniform")[0].ids[0]
    want = [name for name in reversed(data.ids) if name != drawn][:3]
    assert [row.ids[0] for row in by_check(found, "review_queue")] == want


def votes_of(wrong, ids, reviewers=3, **more):
    return [
        Vote(name, f"r{r}", "incorrect" if bad else "correct", **more)
        for name, bad in zip(ids, wrong, strict=True)
        for r in range(reviewers)
    ]


def test_rates_come_from_the_uniform_stratum_alone():
    data = data_of(np.repeat([0, 1, 2], 40))
    lot = [0, 1, 2, 3, 40, 41, 42, 43]
    votes = votes_of([1, 0, 0, 0, 1, 1, 1, 0], [data.ids[i] for i in lot])
    votes += votes_of([1] * 6, data.ids[80:86], stratum="queue")
    found = AuditProtocol(votes)(data, None, rng())
    assert found.summary.count == pytest.approx(0.25 * 40 + 0.75 * 40)
    low, high = found.summary.interval
    assert low < found.summary.count < high
    classes = by_check(found, "class_error_rate")
    assert [row.ids[0] for row in classes] == ["b", "a"]
    assert (classes[0].evidence["low"], classes[0].evidence["high"]) == pytest.approx(tuple(map(float, wilson(3, 4))))
    assert any("33.3% of the images were not reviewed" in note for note in found.summary.notes)
    assert any("100.0% are wrong" in note for note in found.summary.notes)
    assert len(by_check(found, "reviewed_wrong")) == 10


def test_level_verdicts_stay_open_and_the_unidentifiable_is_not_wrong():
    data = data_of(np.zeros(3, int), "a")
    a, b, c = data.ids
    votes = [
        Vote(a, "x", "correct"),
        Vote(a, "y", "incorrect"),
        Vote(b, "x", "unidentifiable"),
        Vote(c, "x", "correct"),
    ]
    found = AuditProtocol(votes)(data, None, rng())
    assert found.summary.count == 0
    assert any("1 of 3 images are open" in note for note in found.summary.notes)
    assert any("33.3% of the images drawn by lot are unidentifiable" in note for note in found.summary.notes)


def test_votes_in_the_queue_alone_tell_no_rate():
    data = data_of(np.zeros(4, int), "a")
    found = AuditProtocol(votes_of([1, 1], data.ids[:2], stratum="queue"))(data, None, rng())
    assert found.summary.count is None


def test_accuracy_on_correct_labels_and_with_classes_merged():
    data = data_of([0, 0, 1, 1, 2, 2])
    prob = np.eye(3)[[0, 1, 1, 0, 2, 0]]
    votes = votes_of([0, 0, 0, 0, 0, 1], data.ids)
    found = AuditProtocol(votes, overlapping=[("a", "b")])(data, Outputs(data.ids, prob), rng())
    made = {row.ids[0]: row.evidence["accuracy"] for row in by_check(found, "reviewed_accuracy")}
    assert made["as_labelled"] == pytest.approx(3 / 6)
    assert made["correct_only"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert made["correct_only_merged"] == 1.0


def test_flags_are_what_most_of_an_images_reviewers_say():
    data = data_of(np.zeros(4, int), "a")
    a, b = data.ids[:2]
    votes = [
        Vote(a, "x", "correct", flags=("humans",)),
        Vote(a, "y", "correct", flags=("humans", "collage")),
        Vote(b, "x", "correct", flags=("collage",)),
        Vote(b, "y", "correct"),
    ]
    found = AuditProtocol(votes, class_flags={"a": ["ill_defined"]})(data, None, rng())
    assert {row.ids[0]: row.evidence["count"] for row in by_check(found, "image_flag")} == {"humans": 1}
    assert by_check(found, "class_ill_defined")[0].ids == ("a",)


def test_a_relabelling_needs_reviewers_who_agree():
    data = data_of([0, 0])
    a, b = data.ids
    votes = [Vote(a, r, "incorrect", label="c") for r in "xyz"] + [
        Vote(b, "x", "incorrect", label="b"),
        Vote(b, "y", "incorrect", label="c"),
    ]
    rows = {row.ids[0]: row.suggestion for row in by_check(AuditProtocol(votes)(data, None, rng()), "reviewed_wrong")}
    assert rows == {a: "relabel:2", b: "drop"}


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_votes_are_read_as_written(suffix, tmp_path):
    votes = (Vote("a,1", "x", "correct"), Vote("b", "y", "incorrect", "cat", ("humans", "collage"), "queue"))
    write_votes(tmp_path / f"v.{suffix}", votes)
    assert read_votes(tmp_path / f"v.{suffix}") == votes


def test_bad_votes_are_refused(tmp_path):
    (tmp_path / "v.csv").write_text("id,reviewer,verdict\na,x,perhaps\n")
    with pytest.raises(BadData, match="Vote 1"):
        read_votes(tmp_path / "v.csv")
    twice = [Vote("a", "x", "correct"), Vote("a", "x", "incorrect")]
    with pytest.raises(BadData, match="voted twice"):
        AuditProtocol(twice)
    with pytest.raises(BadData, match="both strata"):
        AuditProtocol([Vote("a", "x", "correct"), Vote("a", "y", "correct", stratum="queue")])
    with pytest.raises(BadData, match="not in the data"):
        AuditProtocol([Vote("z", "x", "correct")])(data_of([0]), None, rng())
    with pytest.raises(BadArgument, match="class_flags"):
        AuditProtocol(class_flags={"a": ["odd"]})
    with pytest.raises(BadArgument, match="no class 'q'"):
        AuditProtocol(overlapping=[("a", "q")])(data_of([0]), None, rng())


def test_a_majority_is_strict():
    table = np.array([[0, 0, 1], [0, 1, -1], [2, -1, -1], [-1, -1, -1]])
    assert majority(table, 3).tolist() == [0, -1, 2, -1]
    ids, made = verdict_table([Vote("a", "x", "correct"), Vote("b", "y", "incorrect"), Vote("a", "y", "incorrect")])
    assert (ids, made.tolist()) == (["a", "b"], [[0, 1], [-1, 1]])
