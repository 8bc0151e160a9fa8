"""Any averaging length made after training agrees with the average kept during it (card 80, check a)."""

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument
from kintsugi.core.randomness import torch_rng
from kintsugi.generate.diffusion.posthoc_ema import PowerEMA, exponent, mixture, posthoc_ema, width_of


@pytest.mark.parametrize(("width", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_published_exponents(width, gamma):
    assert exponent(width) == pytest.approx(gamma, abs=0.005)
    assert width_of(exponent(width)) == pytest.approx(width, rel=1e-9)


def test_running_average_is_the_integral():
    ema = PowerEMA(widths=(0.1,))
    values = torch.randn(200, generator=torch_rng(0))
    for value in values:
        ema.update({"w": value[None]})
    gamma = ema.gammas[0]
    edges = (torch.arange(201) / 200) ** (gamma + 1)
    expected = (edges.diff() * values).sum()
    assert ema.averages[0]["w"].item() == pytest.approx(expected.item(), abs=1e-5)


def walk(steps=4096, size=40):
    drift = torch.randn(size, generator=torch_rng(1), dtype=torch.float64) * 0.02
    moves = torch.randn(steps, size, generator=torch_rng(2), dtype=torch.float64)
    return (moves + drift).cumsum(0)


def test_posthoc_reconstruction():
    path, every = walk(), 128
    ema, direct = PowerEMA(), PowerEMA(widths=(0.03, 0.07, 0.15, 0.20))
    for step, point in enumerate(path, start=1):
        ema.update({"w": point})
        direct.update({"w": point})
        if step % every == 0:
            ema.store()
    assert len(ema.snapshots) == 64

    def error(snapshots, width, truth):
        # relative to how much the weights move over the average's length, as lengths differ little otherwise
        return ((posthoc_ema(snapshots, width)["w"] - truth).norm() / truth.norm()).item()

    for width, average in zip(direct.widths, direct.averages, strict=True):
        both = error(ema.snapshots, width, average["w"])
        one = error([s for s in ema.snapshots if s.gamma == ema.gammas[0]], width, average["w"])
        assert both < 2e-3
        assert one > 2 * both
        stored = min(((s.state["w"] - average["w"]).norm() / average["w"].norm()).item() for s in ema.snapshots)
        assert stored > 10 * both


def test_stored_average_is_itself_and_weights_sum_to_one():
    stored = [(t, g) for t in (100, 200, 300, 400) for g in (exponent(0.05), exponent(0.1))]
    weights = mixture(stored, 400, exponent(0.1))
    assert np.argmax(weights) == 7
    assert weights[7] == pytest.approx(1, abs=1e-6)
    assert weights.sum() == pytest.approx(1)


def test_integers_follow_and_bad_requests_are_refused():
    ema = PowerEMA()
    ema.update({"w": torch.ones(2), "count": torch.tensor(1)})
    ema.update({"w": torch.ones(2), "count": torch.tensor(2)})
    ema.store()
    made = ema.average(0.08)
    assert made["count"] == 2
    torch.testing.assert_close(made["w"], torch.ones(2))
    with pytest.raises(BadArgument, match="step=1"):
        ema.average(0.08, step=1)
    with pytest.raises(BadArgument, match="width"):
        exponent(0.3)
