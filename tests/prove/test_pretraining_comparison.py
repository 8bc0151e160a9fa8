"""Sources that differ are told apart, equal ones are shown to be equal, and the price is told by class."""

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.pretext import Features, learn_views, small_model
from kintsugi.prove.studies.pretraining_comparison import PretrainingComparison, probe, resampled


class Principal:
    """Principal components of the pixels it was given, centred: pretraining in one step."""

    name = "principal"

    def __init__(self, model, data, seed):
        pixels = np.concatenate([image for _, image in data.stream(512)])[..., 0].reshape(len(data), -1) / 255.0
        self.centre = torch.tensor(pixels.mean(axis=0)).float()
        self.axes = torch.tensor(np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)[2][:6]).float()
        self.fingerprint = str(float(self.axes.sum()))
        self.seen = len(data)

    def __call__(self, image):
        return (image[:, 0].flatten(1) - self.centre) @ self.axes.T


@pytest.fixture(scope="module")
def data():
    from sklearn.datasets import load_digits

    raw = load_digits()
    pixels = np.rint(raw.images / 16 * 255).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, label = pixels[order], raw.target[order]
    source = np.array(["real"] * 600 + [""] * 1197, dtype=object)
    split = ["train"] * 1000 + ["test"] * 797
    noise = np.random.default_rng(1).integers(0, 256, (400, 8, 8)).astype(np.uint8)
    return ImageSet.from_arrays(
        np.concatenate([pixels, noise, pixels[:300]]),
        [*label, *[0] * 400, *label[:300]],
        [str(k) for k in range(10)],
        id=[f"{k:05d}" for k in range(1797 + 700)],
        source=[*source, *["noise"] * 400, *["same"] * 300],
        split=[*split, *["train"] * 700],
    )


def sources(data, *names):
    return data.where(np.isin(data.column("source").astype(str), ["", *names]))


def test_pretraining_on_noise_is_worse_and_the_classes_are_named(data):
    seen = []

    def train(model, images, seed):
        seen.append((len(images), seed))
        return Principal(model, images, seed)

    table, verdict = PretrainingComparison(train, seeds=2, draws=500).run([None], sources(data, "noise", "real"), 0)
    assert verdict.word == "better"  # the second source, real, beside the first, noise
    assert verdict.interval[0] > 0
    assert "real less that of noise" in verdict.rule
    assert {count for count, _ in seen} == {400}  # equally many
    assert seen[0][1] == seen[1][1] != seen[2][1]  # and the same seed for both
    rows = table.to_pylist()
    means = {name: np.mean([row["accuracy"] for row in rows if row["source"] == name]) for name in ("noise", "real")}
    assert verdict.effect == pytest.approx(means["real"] - means["noise"])
    assert len(verdict.groups) == 10
    assert sum(effect.count for effect in verdict.groups) == 797
    assert min(effect.p_value for effect in verdict.groups) < 0.05
    turned = PretrainingComparison(
        Principal, seeds=1, draws=500, targets={"digits": PretrainingComparison()._targets(data)["target"]}
    )
    renamed = sources(data, "noise", "real")
    renamed = renamed.with_column("source", [{"noise": "z"}.get(name, name) for name in renamed.column("source")])
    assert turned.run([None], renamed, 0)[1].word == "worse"
    assert turned.run([None], renamed, 0)[1].worse


def test_equal_sources_are_shown_to_be_equal(data):
    _, verdict = PretrainingComparison(Principal, seeds=3, draws=500, margin=0.03).run(
        [None], sources(data, "same", "real"), 0
    )
    assert verdict.word == "not proven"
    assert "within 0.03 they are equal" in verdict.rule
    strict = PretrainingComparison(Principal, seeds=3, draws=500, margin=0.0001)
    assert "not shown to be equal" in strict.run([None], sources(data, "same", "real"), 0)[1].rule


def test_the_bootstrap_has_the_spread_of_a_crossed_design():
    """Variance of the mean of run effects and image effects: s_r^2 / R + s_i^2 / N, which the draws must show."""
    rng = np.random.default_rng(0)
    run, image = rng.normal(0, 0.3, (40, 1)), rng.normal(0, 1.0, (1, 300))
    drawn = resampled(run + image, 4000, rng)
    expected = (run.var() / 40 + image.var() / 300) ** 0.5
    assert drawn.std() == pytest.approx(expected, rel=0.1)
    assert drawn.mean() == pytest.approx((run + image).mean(), abs=3 * expected / 4000**0.5)


def test_by_default_a_copy_of_the_net_learns_from_views(data):
    model = small_model(0, width=8)
    before = [value.clone() for value in model.state_dict().values()]
    encoder = learn_views(model, data.select(np.arange(600)), 0, epochs=8, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    assert not encoder.training
    known, unseen = data.select(np.arange(600, 800)), data.select(np.arange(800, 1500))
    learned, untrained = (probe(each, known, unseen).mean() for each in (encoder, Features(model, "untrained")))
    assert learned > untrained + 0.03
    with pytest.raises(BadData, match="1 images"):
        learn_views(model, data.select(np.arange(1)), 0)


def test_what_cannot_be_compared_is_refused(data):
    with pytest.raises(BadData, match="3 sources"):
        PretrainingComparison().run([None], data, 0)
    one = data.relabel(np.zeros(len(data), int))
    with pytest.raises(BadData, match="one class"):
        PretrainingComparison().run([None], sources(one, "noise", "real"), 0)
    with pytest.raises(BadArgument, match="models"):
        PretrainingComparison().run([], sources(data, "noise", "real"), 0)
    for wrong in ({"seeds": 0}, {"margin": 0.0}, {"penalty": 0.0}, {"draws": 1}, {"images": 1}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            PretrainingComparison(**wrong)
