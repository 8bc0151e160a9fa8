"""Cards, findings, outputs, decisions, verdicts, streams of chance: the shared words keep their promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.batch import Outputs
from kintsugi.core.card import Card
from kintsugi.core.decision import Decision, read_decisions, write_decisions
from kintsugi.core.errors import BadArgument, BadData, MissingDependency
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.optional import need
from kintsugi.core.randomness import derive, draw_seed, numpy_rng, torch_rng
from kintsugi.core.verdict import Verdict


@pytest.mark.parametrize("change", [{"kind": "spell"}, {"status": "great"}, {"name": "Not Snake"}])
def test_a_card_refuses_what_is_not_a_word_of_the_house(change):
    facts = {"name": "fgsm", "kind": "attack", "title": "t", "paper": "p", "card": 85} | change
    with pytest.raises(BadArgument, match=next(iter(change))):
        Card(**facts)


def finding(ids=("a",), score=0.5, check="c"):
    return Finding("sample", ids, score, True, check, "review", "because")


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_findings_never_depends_on_chance(order):
    rows = [finding((str(k),), score=0.1 * (k // 2)) for k in range(6)]
    assert Findings.of([rows[k] for k in order], "card").rows == Findings.of(rows, "card").rows


def test_a_findings_key_is_the_same_in_any_order_of_its_ids():
    assert finding(("a", "b")).key == finding(("b", "a"), score=0.9).key
    assert finding(("a", "b")).key != finding(("a", "b"), check="d").key
    with pytest.raises(BadArgument, match="score"):
        finding(score=1.5)


def test_scores_take_the_worst_finding_of_each_id():
    found = Findings.of([finding(("a", "b"), 0.3), finding(("a",), 0.7)], "card")
    assert found.scores(["a", "b", "c"]).tolist() == [0.7, 0.3, 0.0]


@pytest.mark.parametrize(
    ("prob", "says"),
    [
        ([[np.nan, 1.0], [0.5, 0.5]], "not finite for 1 samples, first 'x'"),
        ([[0.5, 0.5], [0.5, 0.6]], "does not sum to 1 for 1 samples, first 'y'"),
        ([[0.5, 0.5], [-0.5, 1.5]], "does not sum to 1 for 1 samples, first 'y'"),
        ([[0.5, 0.5]], "2 ids"),
    ],
)
def test_bad_probabilities_name_the_sample(prob, says):
    with pytest.raises(BadData, match=says):
        Outputs(["x", "y"], np.array(prob))


def test_the_latest_decision_counts_and_other_data_is_refused(tmp_path):
    path = tmp_path / "d.jsonl"
    write_decisions(path, [Decision("fp", ("a",), "f1", "accept", "relabel", ("cat",), "me")])
    write_decisions(path, [Decision("fp", ("b",), "f2", "accept", "drop"), Decision("fp", ("a",), "f1", "reject")])
    latest = read_decisions(path, "fp")
    assert [d.verdict for d in latest.values()] == ["reject", "accept"]
    assert latest["f2"].time.endswith("+00:00")
    with pytest.raises(BadData, match="another data set"):
        read_decisions(path, "other")
    with pytest.raises(BadData, match="does not exist"):
        read_decisions(tmp_path / "none.jsonl")
    path.write_text('{"ids": ["a"]}\n')
    with pytest.raises(BadData, match="line 1 is not a decision"):
        read_decisions(path)


@pytest.mark.parametrize(
    "change", [{"verdict": "maybe"}, {"action": "eat"}, {"labels": ("cat",)}, {"action": "relabel"}]
)
def test_a_decision_refuses_nonsense(change):
    with pytest.raises(BadArgument):
        Decision(**({"data": "fp", "ids": ("a",), "finding": "f", "verdict": "accept"} | change))


def test_streams_are_named_and_never_global():
    import torch

    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert derive(0, "a", 1) == derive(0, "a", 1) != derive(0, "a", 2) != derive(1, "a", 2)
    assert numpy_rng(3, "x").random() == numpy_rng(3, "x").random()
    assert torch.equal(torch.rand(2, generator=torch_rng(3, "x")), torch.rand(2, generator=torch_rng(3, "x")))
    assert draw_seed(numpy_rng(1)) != draw_seed(numpy_rng(2))
    draw_seed(torch_rng(1))
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_a_missing_library_is_named_with_its_install_line():
    with pytest.raises(MissingDependency, match=r'pip install "kintsugi-vision\[models\]"'):
        need("no_such_library_at_all", "models")


def test_a_verdict_reads_as_a_sentence():
    verdict = Verdict("better", 0.21, (0.15, 0.27), "rule", worse=("b",))
    assert str(verdict) == "better: +21.0 points (95% interval +15.0 to +27.0); got worse: 'b'"
    many = Verdict("worse", -0.1, (-0.2, -0.1), "rule", worse=("label=cat, place=sea", "label=it's"))
    assert str(many).endswith("""; got worse: 'label=cat, place=sea', "label=it's\"""")
    with pytest.raises(BadArgument):
        Verdict("fine", 0.0, (0, 0), "rule")
