"""Stages see what the earlier ones let through, and what is left is said with an interval once people have looked."""

import numpy as np
import pytest
import torch
from scipy.stats import beta

from kintsugi.audit.content.content_filter import ContentFilter, residual_rate
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.kinds import ContentDetector
from kintsugi.data.imageset import ImageSet


class Corner:
    """Sees a mark in one corner."""

    def __init__(self, name, cost, place, seen=None):
        self.name, self.cost, self.place = name, cost, place
        self.seen = [] if seen is None else seen

    def score(self, image):
        self.seen.append((self.name, len(image)))
        return image[:, 0, self.place, self.place]


def images(count=200, left=0.2, right=0.1, seed=0):
    rng = np.random.default_rng(seed)
    pixels = np.zeros((count, 6, 6), np.uint8)
    marked = rng.random((2, count)) < [[left], [right]]
    pixels[marked[0], 0, 0] = 230
    pixels[marked[1], 5, 5] = 250
    return ImageSet.from_arrays(pixels, np.zeros(count, int), ["thing"]), marked


def test_stages_are_cheap_first_and_see_the_rest():
    data, marked = images()
    seen = []
    dear, cheap = Corner("dear", 50.0, 5, seen), Corner("cheap", 1.0, 0, seen)
    assert isinstance(dear, ContentDetector)
    made = ContentFilter([dear, cheap]).run(data)
    assert [stage.name for stage in made.stages] == ["cheap", "dear"]
    assert [stage.removed for stage in made.stages] == [int(marked[0].sum()), int((marked[1] & ~marked[0]).sum())]
    assert made.stages[1].seen == 200 - made.stages[0].removed
    assert sum(n for name, n in seen if name == "dear") == made.stages[1].seen
    given = ContentFilter([dear, cheap], order="given").run(data)
    assert [stage.name for stage in given.stages] == ["dear", "cheap"]
    np.testing.assert_array_equal(given.stage >= 0, made.stage >= 0)  # the order removes the same images
    np.testing.assert_array_equal(made.stage >= 0, marked.any(axis=0))


def test_a_threshold_for_each_detector_goes_with_it():
    data, marked = images()
    found = ContentFilter([Corner("dear", 50.0, 5), Corner("cheap", 1.0, 0)], threshold=[0.95, 0.99]).run(data)
    np.testing.assert_array_equal(found.stage >= 0, marked[1])  # marks of the left corner are at 0.90


def test_the_sample_is_of_what_was_kept_and_the_rate_has_its_interval():
    data, marked = images(left=0.3, right=0.1)
    detector = Corner("left", 1.0, 0)
    audit = lambda **more: ContentFilter([detector], sample=80, **more)(data, None, np.random.default_rng(3))  # noqa: E731
    first = audit()
    drawn = [row.ids[0] for row in first if row.check == "audit_sample"]
    truth = dict(zip(data.ids, marked[1].tolist(), strict=True))
    assert len(drawn) == 80
    assert not {name for name, bad in zip(data.ids, marked[0], strict=True) if bad} & set(drawn)
    assert "Cannot tell how much is left" in first.summary.notes[0]
    hits = sum(truth[name] for name in drawn)
    second = audit(reviewed={name: truth[name] for name in drawn})
    low, high = beta.ppf([0.025, 0.975], [hits, hits + 1], [81 - hits, 80 - hits])
    assert residual_rate(hits, 80) == pytest.approx((low, high))
    assert f"{low:.2%} to {high:.2%}" in second.summary.notes[0]
    with pytest.raises(BadArgument, match="reviewed"):
        audit(reviewed={data.ids[int(np.flatnonzero(marked[0])[0])]: True})


def test_the_interval_covers_at_its_level():
    rng = np.random.default_rng(0)
    truth, missed = 0.02, 0
    for hits in rng.binomial(500, truth, size=2000):
        low, high = residual_rate(int(hits), 500)
        missed += not low <= truth <= high
    assert missed / 2000 <= 0.05
    assert residual_rate(0, 500)[0] == 0.0
    assert residual_rate(0, 500)[1] == pytest.approx(1 - 0.025 ** (1 / 500))


def test_findings_name_the_stage_that_removed():
    data, marked = images(60)
    found = ContentFilter([Corner("left", 1.0, 0), Corner("right", 2.0, 5)])(data, None, np.random.default_rng(0))
    drops = [row for row in found if row.check == "content"]
    assert {row.ids[0] for row in drops} == {name for name, bad in zip(data.ids, marked.any(0), strict=True) if bad}
    assert {row.suggestion for row in drops} == {"drop"}
    assert {row.evidence["detector"] for row in drops} == {"left", "right"}
    stages = {row.ids[0]: row.evidence for row in found if row.check == "filter_stage"}
    assert stages["left"] == {"stage": 1, "seen": 60, "removed": int(marked[0].sum())}
    assert found.summary.count == marked.any(axis=0).sum()


def test_what_nobody_could_read_is_not_kept(tmp_path):
    from PIL import Image

    from kintsugi.data.formats import open_data

    (tmp_path / "thing").mkdir()
    for k in range(4):
        Image.fromarray(np.full((8 + k, 8, 3), 60 * k, np.uint8)).save(tmp_path / f"thing/{k}.png")
    (tmp_path / "thing/3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    found = ContentFilter([Corner("left", 1.0, 0)])(open_data(tmp_path), None, np.random.default_rng(0))
    assert sum(row.check == "audit_sample" for row in found) == 3
    assert any("1 images could not be read" in note for note in found.summary.notes)


def test_bad_configurations_and_bad_detectors():
    data, _ = images(10)

    class Logits(Corner):
        def score(self, image):
            return image[:, 0, 0, 0] * 8 - 4

    class PerPixel(Corner):
        def score(self, image):
            return image[:, 0]

    class Undecided(Corner):
        def score(self, image):
            return torch.full((len(image),), torch.nan)

    for kind in (Logits, PerPixel, Undecided):
        with pytest.raises(BadData, match="one probability an image"):
            ContentFilter([kind("bad", 1.0, 0)]).run(data)
    left = Corner("left", 1.0, 0)
    for wrong in ({"threshold": 0.0}, {"threshold": [0.5, 0.5]}, {"sample": 0}, {"order": "dear_first"}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            ContentFilter([left], **wrong)
    with pytest.raises(BadArgument, match="detectors"):
        ContentFilter([left, left])
    assert "Cannot tell" in ContentFilter()(data, None, np.random.default_rng(0)).summary.notes[0]
