"""Prompts are tuned by the rule of the paper, on ratings people gave, and say nothing where nobody rated."""

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.datasets import load_digits

from kintsugi.audit.content.data_sheet import write_data_sheet
from kintsugi.audit.content.prompt_tuning import PromptTuning
from kintsugi.audit.content.prototypes import Tuning
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.kinds import Encoder, ImageTextEncoder
from kintsugi.data.imageset import ImageSet


class TwoTowers:
    """Pixels, and for the text the mean image of the class a sentence names."""

    name = fingerprint = "two-towers"
    scale = 50.0

    def __init__(self, means):
        self.means = means

    def __call__(self, image):
        return self.encode_image(image)

    def encode_image(self, image):
        return image[:, 0].flatten(1) - 0.3

    def encode_text(self, texts):
        return torch.stack([self.means[text] for text in texts])


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    keep = np.isin(raw.target, [0, 1, 4, 7])
    pixels = np.rint(raw.images[keep] / 16 * 255).astype(np.uint8)
    return ImageSet.from_arrays(pixels, raw.target[keep], [str(k) for k in range(10)])


def ratings(data, count, seed=0):
    """Zeros are bad (about 1.5 of 5), fours in between, the others good."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(data))[:count]
    mean = np.where(data.labels == 0, 1.5, np.where(data.labels == 4, 3.0, 4.5))
    return {data.ids[row]: float(mean[row] + rng.uniform(-0.4, 0.4)) for row in rows}


def test_one_step_is_the_gradient_of_the_papers_loss():
    rng = np.random.default_rng(0)
    space, start = rng.standard_normal((30, 5)), rng.standard_normal((3, 5))
    level = rng.integers(0, 3, 30)
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)  # noqa: E731

    def loss(vectors):
        logits = 7.0 * unit(space) @ unit(vectors).T
        return -log_softmax(logits, axis=1)[np.arange(30), level].mean()

    v, step = unit(start), 1e-5
    gradient = np.zeros_like(v)
    for place in np.ndindex(v.shape):
        more, less = v.copy(), v.copy()
        more[place] += step
        less[place] -= step
        gradient[place] = (loss(more) - loss(less)) / (2 * step)
    found = Tuning(scale=7.0, epochs=1, lr=0.2).tune(space, level, start)[-1]
    np.testing.assert_allclose(found, unit(v - 0.2 * gradient), atol=1e-5)
    longer = Tuning(scale=7.0, epochs=200, lr=0.2).tune(space, level, start)[-1]
    np.testing.assert_allclose(np.linalg.norm(longer, axis=1), 1.0, atol=1e-9)
    assert loss(longer) < loss(found) < loss(v)


def test_what_is_found_is_the_concept(digits):
    said = Outputs(digits.ids, np.full((len(digits), 10), 0.1), digits.source.image.reshape(len(digits), -1) / 255.0)
    auditor = PromptTuning(ratings=ratings(digits, 120), splits=3)
    found = auditor(digits, said, np.random.default_rng(0))
    flagged = np.isin(digits.ids, [row.ids[0] for row in found.flagged])
    bad = digits.labels == 0
    assert flagged[bad].mean() > 0.95
    assert flagged[~bad & (digits.labels != 4)].mean() < 0.05
    first = next(row for row in found if row.subject == "class")
    assert first.ids == ("0",)
    assert first.evidence["images"] == int(bad.sum())
    rated = auditor.rate(digits, said, np.random.default_rng(0))
    assert sum(rated.counts) == 120
    assert rated.counts[2] > 10  # the middle was not tuned on
    assert rated.report["AUROC without the middle"] > 0.95
    assert rated.report["rank correlation over all ratings"] > 0.5


def test_the_full_range_is_harder_than_its_ends(digits):
    """Ratings near the cut are guesses here: leaving them out flatters."""
    rng = np.random.default_rng(1)
    given = {name: 1.5 if label == 0 else 4.5 for name, label in zip(digits.ids, digits.labels, strict=True)}
    given |= {name: float(rng.uniform(2.6, 3.4)) for name in digits.where(label="4").ids}
    said = Outputs(digits.ids, np.full((len(digits), 10), 0.1), digits.source.image.reshape(len(digits), -1) / 255.0)
    report = PromptTuning(ratings=given, splits=3).rate(digits, said, rng).report
    assert report["AUROC over all ratings"] < report["AUROC without the middle"] - 0.1


def test_a_text_half_starts_from_the_prompts_and_a_column_may_rate(digits):
    image = torch.from_numpy(digits.source.image[..., 0] / 255.0).float().flatten(1) - 0.3
    label = torch.tensor(digits.labels)
    means = {"zero": image[label == 0].mean(0), "other": image[label != 0].mean(0)}
    encoder = TwoTowers(means)
    assert isinstance(encoder, ImageTextEncoder)
    assert isinstance(encoder, Encoder)
    given = ratings(digits, 12)
    rated = digits.with_column("moral", [given.get(name) for name in digits.ids])
    auditor = PromptTuning(encoder, ratings="moral", prompts=("zero", "other"), epochs=1, lr=1e-12)
    assert (auditor.init, auditor.scale) == ("text", 50.0)
    prob = auditor.rate(rated, None, np.random.default_rng(0)).prob
    cos = torch.nn.functional.cosine_similarity
    expected = torch.softmax(50 * torch.stack([cos(image, means[k][None]) for k in ("zero", "other")], 1), 1)
    np.testing.assert_allclose(prob, expected.numpy(), atol=1e-4)  # barely moved: zero-shot prompts


def test_three_levels(digits):
    given = {name: {0: 1.0, 4: 3.0}.get(int(k), 5.0) for name, k in zip(digits.ids, digits.labels, strict=True)}
    levels = ((0.0, 2.0), (2.0, 4.0), (4.0, 6.0))
    said = Outputs(digits.ids, np.full((len(digits), 10), 0.1), digits.source.image.reshape(len(digits), -1) / 255.0)
    prob = PromptTuning(ratings=given, levels=levels, splits=2).rate(digits, said, np.random.default_rng(0)).prob
    assert (prob[digits.labels == 4].argmax(axis=1) == 1).mean() > 0.9


def test_it_says_what_it_cannot_tell(digits):
    said = Outputs(digits.ids, np.full((len(digits), 10), 0.1))
    rng = np.random.default_rng(0)
    for auditor in (
        PromptTuning(),
        PromptTuning(ratings=ratings(digits, 9)),
        PromptTuning(ratings={digits.ids[0]: 1.0}),
    ):
        found = auditor(digits, said, rng)
        assert not len(found)
        assert "Cannot tell" in found.summary.notes[0]
    features = Outputs(digits.ids, said.prob, np.ones((len(digits), 3)))  # a constant says nothing
    found = PromptTuning(ratings=ratings(digits, 60))(digits, features, rng)
    assert not found.flagged or len({row.score for row in found.flagged}) == 1


def test_bad_ratings_are_named(digits):
    rng = np.random.default_rng(0)
    with pytest.raises(BadArgument, match="nobody"):
        PromptTuning(ratings={"nobody": 1.0})(digits, None, rng)
    with pytest.raises(BadData, match="'bad' of '000000'"):
        PromptTuning(ratings={"000000": "bad"})(digits, None, rng)
    with pytest.raises(BadData, match="infinite"):
        PromptTuning(ratings={"000000": np.inf})(digits, None, rng)
    with pytest.raises(BadArgument, match="moral"):
        PromptTuning(ratings="moral")(digits, None, rng)
    for wrong in ({"levels": ((0, 1),)}, {"levels": ((0, 2), (1, 3))}, {"init": "text"}, {"prompts": ("one",)}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            PromptTuning(TwoTowers({}) if "prompts" in wrong else None, **wrong)


def test_the_data_sheet_holds_the_queue(digits, tmp_path):
    said = Outputs(digits.ids, np.full((len(digits), 10), 0.1), digits.source.image.reshape(len(digits), -1) / 255.0)
    found = PromptTuning(ratings=ratings(digits, 60), splits=2)(digits, said, np.random.default_rng(0))
    write_data_sheet(tmp_path / "sheet.json", digits, found, concept="is a zero", raters="three students, 2024")
    sheet = json.loads((tmp_path / "sheet.json").read_text())
    assert sheet["flagged"] == len(sheet["to be looked at"]) > 100
    assert sheet["data"] == digits.fingerprint
    assert sheet["answered"]
    assert sheet["classes"][0]["class"] == "0"
    nothing = PromptTuning()(digits, None, np.random.default_rng(0))
    write_data_sheet(tmp_path / "none.json", digits, nothing, concept="is a zero")
    assert not json.loads((tmp_path / "none.json").read_text())["answered"]


def test_tuning_stops_before_it_learns_wrong_ratings(digits):
    given = ratings(digits, 60)
    for name in list(given)[::5]:
        given[name] = 6.0 - given[name]
    said = Outputs(digits.ids, np.full((len(digits), 10), 0.1), digits.source.image.reshape(len(digits), -1) / 255.0)
    kept = digits.labels != 4
    right = {}
    for early in (True, False):
        rated = PromptTuning(ratings=given, early=early).rate(digits, said, np.random.default_rng(0))
        right[early] = ((rated.prob[:, 0] > 0.5) == (digits.labels == 0))[kept].mean()
        assert ("Tuning took 300 of 300 steps" in rated.notes[0]) is not early
    assert right[True] > right[False] + 0.05
