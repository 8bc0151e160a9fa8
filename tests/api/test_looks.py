"""What `audit` gives the check on images that do not belong: four looks, by the model, kept by content."""

import numpy as np
from patches import case_of, patches

from kintsugi.api.answers import Answers
from kintsugi.data.imageset import ImageSet
from kintsugi.models.encoder import PixelEncoder


def test_looks_are_by_the_model_and_come_out_of_the_cache(tmp_path):
    case = case_of(patches(60), tmp_path)
    answers = Answers(case, case.data, PixelEncoder(4))
    asked, parts = answers.looks()
    assert parts == (4, 12, 0, 48)  # who names an encoder gets its looks
    answers = Answers(case, case.data, None)
    first, parts = answers.looks()
    assert parts[2] > 0
    assert first.features.shape == (len(case.data), sum(parts))
    assert any("middle layers" in note for note in answers.notes)
    again, same = Answers(case, case.data, None).looks()
    assert same == parts
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.features[:, :16], asked.features[:, :16])


def test_audit_finds_what_is_of_another_kind(tmp_path):
    data = patches(120)
    rng = np.random.default_rng(1)
    smooth = np.repeat(np.repeat(rng.integers(0, 255, (6, 2, 2, 1)), 8, axis=1), 8, axis=2)  # grey, of four tiles
    image = np.concatenate([data.source.gather(data.rows), np.repeat(smooth, 3, axis=3).astype(np.uint8)])
    mixed = ImageSet.from_arrays(image, [*data.labels, *[0] * 6], ("a", "b"))
    done = case_of(mixed, tmp_path).audit(checks=["off_topic"], save=False)
    rows = done.findings[0].rows
    assert sum(int(row.ids[0]) >= 120 for row in rows[:6]) >= 4
    assert set(rows[0].evidence) == {"distance", "sharpness", "colour", "middle layers", "the encoder"}
    assert "by middle layers" in rows[0].why
