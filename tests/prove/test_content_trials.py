"""What the trials of content and poison plant is what they say, and their scores are right by hand."""

import numpy as np
import pytest
import torch

from kintsugi.core.randomness import numpy_rng
from kintsugi.prove.marked_garments import CROP, SIGN, PatchNet, Template, crops, garments, sign
from kintsugi.prove.small import digits, whole
from kintsugi.prove.trials import content_filter, prompt_tuning, vdc


def test_true_positives_at_a_rate_of_false_ones():
    clean = np.zeros(40, bool)
    clean[:20] = True
    score = np.concatenate([np.arange(20) / 20, np.full(10, 0.86), np.full(10, 0.85)])
    wanted = ~clean
    # Two of twenty may be above the cut, so it lies at the third highest clean score, 0.85; ties count as clean.
    assert vdc._tpr(score, wanted, clean) == 0.5


def test_dirt_is_what_it_is_called():
    clean = digits(0)[0]
    dirty, flipped, poisoned = vdc._dirty(clean, numpy_rng(0, "dirty"))
    assert (flipped.sum(), poisoned.sum(), (flipped & poisoned).sum()) == (100, 45, 0)
    assert (dirty.labels[flipped] != clean.labels[flipped]).all()
    assert (dirty.labels[poisoned] == 0).all()
    assert (clean.labels[poisoned] != 0).all()
    assert (dirty.labels[~flipped & ~poisoned] == clean.labels[~flipped & ~poisoned]).all()
    corner = whole(dirty).image[:, 0, -2:, -2:].amin((1, 2)).numpy()
    assert (corner[poisoned] == 1).all()
    assert (corner[~poisoned] < 1).all()


def test_heads_answer_what_they_are_asked():
    trusted = digits(0)[0].select(np.arange(200))
    heads = vdc.Heads(trusted)
    image = whole(trusted).image
    said = heads.answer(image, ["Is it even?"] * 100 + ["Is this the digit 3?"] * 100)
    even = np.array([text == "Yes." for text in said[:100]])
    three = np.array([text == "Yes." for text in said[100:]])
    assert (even == (trusted.labels[:100] % 2 == 0)).mean() > 0.95
    assert (three == (trusted.labels[100:] == 3)).mean() > 0.95


def test_rates_of_a_filter():
    gone, marked = np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 0, 1], bool)
    rates = content_filter._rates(gone, marked)
    assert rates["minus residual rate"] == -0.5
    assert rates["minus false removals"] == -0.5
    assert rates["found"] == pytest.approx(2 / 3)


def test_both_levels_are_rated():
    said = np.arange(500) % 10 == 0
    rows = prompt_tuning._stratified(said, 10, np.random.default_rng(0))
    assert (len(set(rows.tolist())), int(said[rows].sum())) == (10, 2)
    assert sorted(prompt_tuning._stratified(said, 500, np.random.default_rng(0)).tolist()) == list(range(500))


@pytest.mark.data
def test_signs_are_where_they_are_said_to_be():
    some, clean = garments(0, "test", 0, 60, 0.5), garments(0, "test", 0, 60, 0.0)
    image, plain = (each.data.source.image[..., 0].astype(int) for each in (some, clean))
    assert some.data.labels.tolist() == clean.data.labels.tolist()
    for row in range(60):
        changed = np.argwhere(image[row] != plain[row])
        assert bool(len(changed)) == bool(some.marked[row])
        if len(changed):
            assert (changed >= some.corner[row]).all()
            assert (changed < some.corner[row] + SIGN).all()
    rows = np.flatnonzero(some.marked)
    cut = crops(some, rows, some.corner[rows])
    edge = (CROP - SIGN) // 2
    assert cut.shape == (len(rows), 1, CROP, CROP)
    top, left = some.corner[rows[0]]
    inside = image[rows[0], top : top + SIGN, left : left + SIGN]
    np.testing.assert_allclose(cut[0, 0, edge : edge + SIGN, edge : edge + SIGN] * 255, inside, atol=1e-3)


def test_detectors_see_what_they_learned():
    rng = np.random.default_rng(0)
    canvas = torch.zeros(40, 1, 36, 36)
    for row in range(20):
        top, left = rng.integers(0, 36 - SIGN + 1, 2)
        canvas[row, 0, top : top + SIGN, left : left + SIGN] = torch.from_numpy(sign(rng)).float()
    canvas += 0.05 * torch.from_numpy(rng.random(canvas.shape)).float()
    positive = torch.zeros(50, 1, CROP, CROP)
    positive[:, 0, 2 : 2 + SIGN, 2 : 2 + SIGN] = torch.from_numpy(np.stack([sign(rng) for _ in range(50)])).float()
    template = Template(positive)
    every = template.map(canvas, 1).amax((1, 2, 3))
    assert every[:20].min() > every[20:].max() + 0.3
    coarse = template.score(canvas)  # in steps of two it meets a sign in one place of four
    assert (coarse[:20] > 0.9).any()
    assert (coarse[20:] < 0.75).all()
    net, label = PatchNet(0), torch.cat([torch.ones(50), torch.zeros(50)])
    net.learn(torch.cat([positive, 0.05 * torch.rand(50, 1, CROP, CROP)]), label, torch.Generator().manual_seed(0), 60)
    with torch.no_grad():
        score = net.score(canvas)
    assert score.shape == (40,)
    assert score[:20].min() > score[20:].max()
