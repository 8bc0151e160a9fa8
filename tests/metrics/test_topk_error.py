"""Top-k error against a loop over images, ties among them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument
from kintsugi.metrics.topk_error import TopkError


@given(st.integers(0, 10_000), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_it_is_the_loop(seed, k):
    rng = np.random.default_rng(seed)
    prob = np.round(rng.dirichlet(np.ones(8), 40), 1)
    label = rng.integers(-1, 8, 40)
    wrong = [
        y not in sorted(range(8), key=lambda c: (-p[c], c))[:k] for p, y in zip(prob, label, strict=True) if y >= 0
    ]
    metric = TopkError(k)
    metric.update(prob, label)
    made = metric.compute()
    assert made["value"] == pytest.approx(np.mean(wrong))
    assert made["top1"]["value"] == pytest.approx((prob.argmax(1) != label)[label >= 0].mean())
    assert made["unknown"]["label"] == (label < 0).sum()
    assert not made["cannot_miss"]


def test_more_guesses_than_classes_are_told():
    metric = TopkError(5)
    metric.update(np.full((2, 3), 1 / 3), np.array([2, 0]))
    made = metric.compute()
    assert (made["value"], made["cannot_miss"], made["top1"]["value"]) == (0.0, True, 0.5)


def test_no_guess_is_refused():
    with pytest.raises(BadArgument, match="k="):
        TopkError(0)
