"""Vote aggregation against the posterior worked out by enumeration, and simulated raters."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from kintsugi.audit.protocol.consensus import Consensus, aggregate, votes_needed
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet


def voted(n=600, classes=4, people=8, per=3, seed=0, low=0.6, high=0.95):
    rng = np.random.default_rng(seed)
    true, skill = rng.integers(0, classes, n), rng.uniform(low, high, people)
    item = np.repeat(np.arange(n), per)
    rater = np.concatenate([rng.permutation(people)[:per] for _ in range(n)])
    right = rng.random(len(item)) < skill[rater]
    label = np.where(right, true[item], (true[item] + rng.integers(1, classes, len(item))) % classes)
    return true, skill, item, rater, label


def majority_right(true, item, label, classes):
    counts = np.zeros((len(true), classes))
    np.add.at(counts, (item, label), 1)
    top = counts == counts.max(1, keepdims=True)
    return float((top[np.arange(len(true)), true] / top.sum(1)).mean())  # ties shared


def test_the_posterior_is_bayes_of_the_ability_it_reports():
    _, _, item, rater, label = voted(n=60)
    posterior, ability = aggregate(item, rater, label, 4, rounds=500)
    share = (posterior.sum(0) + 1) / (60 + 4)
    for i in range(60):
        votes = [(r, c) for j, r, c in zip(item, rater, label, strict=True) if j == i]
        like = [
            share[k] * np.prod([ability[r] if c == k else (1 - ability[r]) / 3 for r, c in votes]) for k in range(4)
        ]
        assert posterior[i] == pytest.approx(np.array(like) / sum(like), abs=1e-4)


@pytest.mark.parametrize(("raters", "people", "per", "gain"), [("accuracy", 20, 3, 0.01), ("confusion", 10, 5, 0.003)])
def test_it_beats_the_majority_and_knows_the_raters(raters, people, per, gain):
    gains, apart = [], []
    for seed in range(4):
        true, skill, item, rater, label = voted(seed=seed, n=1500, people=people, per=per)
        posterior, ability = aggregate(item, rater, label, 4, raters)
        gains.append((posterior.argmax(1) == true).mean() - majority_right(true, item, label, 4))
        apart.append(np.corrcoef(ability, skill)[0, 1])
    assert np.mean(gains) > gain
    assert min(apart) > 0.9


def test_a_rater_who_swaps_two_classes_is_understood_by_the_table():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 900)
    item = np.tile(np.arange(900), 4)
    rater = np.repeat(np.arange(4), 900)
    label = np.where(rng.random(3600) < 0.7, true[item], rng.integers(0, 3, 3600))
    label[rater == 3] = np.array([1, 0, 2])[true]  # always wrong on 0 and 1, and always the same way
    table = aggregate(item, rater, label, 3, "confusion")[0].argmax(1)
    number = aggregate(item, rater, label, 3, "accuracy")[0].argmax(1)
    assert (table == true).mean() > 0.97 > (number == true).mean()


def test_stated_probabilities_are_kept():
    hits, said = [], []
    for seed in range(5):
        true, _, item, rater, label = voted(seed=10 + seed, n=1500)
        posterior, _ = aggregate(item, rater, label, 4)
        sure = posterior.max(1) >= 0.9
        hits.append((posterior.argmax(1) == true)[sure].mean())
        said.append(posterior.max(1)[sure].mean())
    assert np.mean(hits) == pytest.approx(np.mean(said), abs=0.015)


def test_votes_needed_is_about_what_it_takes():
    rng = np.random.default_rng(0)
    want = votes_needed(0.5, 0.95, 0.75, 5)
    took = []
    for _ in range(2000):  # a fresh pair of level classes, voted on until one is sure
        odds = np.zeros(5)
        for n in itertools.count(1):  # noqa: B007
            vote = 0 if rng.random() < 0.75 else rng.integers(1, 5)
            odds[vote] += np.log(0.75 * 4 / 0.25)
            p = np.exp(odds - odds.max())
            if (p / p.sum()).max() >= 0.95:
                break
        took.append(n)
    assert abs(want - np.mean(took)) < 2
    assert votes_needed(0.9, 0.95, 0.9, 5) == 1


def data_of(true):
    return ImageSet.from_arrays(np.zeros((len(true), 2, 2), np.uint8), true, list("abcd"))


def test_the_auditor_flags_labels_that_votes_contradict():
    true, _, item, rater, label = voted(low=0.85, per=5)
    given = true.copy()
    given[:30] = (given[:30] + 1) % 4
    data = data_of(given)
    votes = [(data.ids[i], f"r{r}", data.classes[k]) for i, r, k in zip(item, rater, label, strict=True)]
    found = Consensus(votes)(data, None, np.random.default_rng(0))
    flagged = {row.ids[0] for row in found.flagged}
    assert len(flagged & set(data.ids[:30])) >= 28
    assert len(flagged - set(data.ids[:30])) <= 6
    assert all(
        row.suggestion == f"relabel:{true[data.ids.index(row.ids[0])]}"
        for row in found.flagged
        if row.ids[0] in data.ids[:30]
    )
    rows = {row.check for row in found}
    assert rows == {"label_by_votes", "votes_needed"}
    column = np.full((len(true), 8), -1)
    column[item, rater] = label
    again = Consensus()(data.with_column("annotators", pa.array(column.tolist())), None, np.random.default_rng(0))
    assert {row.ids[0] for row in again.flagged} == flagged


def test_two_raters_are_not_told_apart_and_nobody_is_no_answer():
    data = data_of([0, 1, 0])
    votes = [(name, r, k) for name in data.ids for r, k in (("x", 0), ("y", 1))]
    found = Consensus(votes)(data, None, np.random.default_rng(0))
    assert not found.flagged
    assert any("told apart" in note for note in found.summary.notes)
    assert "cannot be told" in Consensus()(data, None, np.random.default_rng(0)).summary.notes[0]


def test_bad_votes_are_refused():
    data = data_of([0, 1])
    rng = np.random.default_rng(0)
    with pytest.raises(BadData, match="twice"):
        Consensus([(data.ids[0], "x", 0), (data.ids[0], "x", 1)])(data, None, rng)
    with pytest.raises(BadData, match="not in the data"):
        Consensus([("z", "x", 0)])(data, None, rng)
    with pytest.raises(BadArgument, match="no class 'q'"):
        Consensus([(data.ids[0], "x", "q")])(data, None, rng)
    with pytest.raises(BadData, match="class 9"):
        Consensus([(data.ids[0], "x", 9)])(data, None, rng)
    with pytest.raises(BadData, match="too large"):
        aggregate(np.zeros(2, int), np.array([0, 999]), np.zeros(2, int), 1000, "confusion")
    with pytest.raises(BadArgument, match="target"):
        Consensus(target=0.2)


def test_one_class_and_everybody_alike():
    posterior, _ = aggregate(np.array([0, 0, 0]), np.array([0, 1, 2]), np.zeros(3, int), 1)
    assert posterior.tolist() == [[1.0]]
    posterior, ability = aggregate(np.repeat(np.arange(9), 3), np.tile(np.arange(3), 9), np.zeros(27, int), 3)
    assert (posterior.argmax(1) == 0).all()
    assert (ability > 0.9).all()
