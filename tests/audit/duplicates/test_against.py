"""A batch with planted repeats, contradictions and foreign images; and the share flagged by chance."""

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.audit.duplicates.against import Against
from kintsugi.core.errors import BadArgument
from kintsugi.data.imageset import ImageSet

CLASSES = ("cat", "dog")


class Colour:
    """Mean colour and contrast, unit scale."""

    name = fingerprint = "colour"

    def __call__(self, image):
        flat = image.flatten(2)
        return torch.cat([flat.mean(2) - 0.5, flat.std(2)], 1)


def textures(n, seed):
    """Coloured noise of two scales, like nothing else, uint8 [n, 24, 24, 3]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (n, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((24, 24), Image.Resampling.BICUBIC)) for one in small])


@pytest.fixture(scope="module")
def planted():
    old, new = textures(160, 0), textures(60, 1)
    new[0], new[1], new[3] = old[5], old[6], old[5]
    new[2] = np.clip(old[7].astype(int) + 9, 0, 255)
    new[4] = new[2]  # the same changed copy twice: only the first is compared with the old images
    new[50:] = 255 - new[50:] // 40
    label = np.zeros(60, int)
    label[1] = 1
    before = ImageSet.from_arrays(old, np.zeros(160, int), CLASSES)
    batch = ImageSet.from_arrays(new, label, ("dog", "cat")).relabel(1 - label)  # other order, the same names
    return before, batch, Against(before, encoder=Colour(), alpha=0.05)(batch, None, np.random.default_rng(0))


def test_repeats_name_the_old_image_and_contradictions_the_labels(planted):
    _, _, findings = planted
    found = {row.ids[0]: row for row in findings.flagged if row.check in ("repeats", "contradicts")}
    assert {name: row.evidence["old"] for name, row in found.items()} == {
        "000000": "000005", "000001": "000006", "000002": "000007", "000003": "000005", "000004": "000007",
    }  # fmt: skip
    assert {name for name, row in found.items() if row.check == "contradicts"} == {"000001"}
    assert (found["000001"].evidence["label"], found["000001"].evidence["old_label"]) == ("dog", "cat")
    assert [found[f"{k:06d}"].evidence["identical"] for k in range(5)] == [True, True, False, True, False]
    assert found["000000"].suggestion == "drop"


def test_foreign_images_lie_outside_and_few_others(planted):
    _, _, findings = planted
    far = {int(row.ids[0]): row for row in findings if row.check == "outside"}
    assert len(far) == 60
    assert all(far[k].flagged for k in range(50, 60))
    assert sum(far[k].flagged for k in range(50)) <= 8
    assert min(far[k].score for k in range(50, 60)) > max(far[k].score for k in range(50))
    assert all(row.flagged == (row.score >= 0.5) for row in far.values())


def test_of_images_like_the_old_ones_alpha_are_flagged():
    both = ImageSet.from_arrays(np.random.default_rng(3).integers(0, 256, (3000, 2, 2, 3), dtype=np.uint8), [0] * 3000)
    method = Against(both.select(np.arange(2000)), encoder=Colour(), alpha=0.1)
    found, _ = method._outside(both.select(np.arange(2000, 3000)))
    assert sum(row.flagged for row in found) / 1000 == pytest.approx(0.1, abs=0.03)  # three standard errors


def test_what_cannot_be_told_is_said(planted):
    before, batch, _ = planted
    rng = np.random.default_rng(0)
    assert "No old data were given: cannot tell" in Against()(batch, None, rng).summary.notes[0]
    few = Against(before.select(np.arange(20)), encoder=Colour())(batch.select(np.arange(3)), None, rng)
    assert any("20 old images: cannot tell" in note for note in few.summary.notes)
    bare = Against(before.select(np.arange(9)))(batch.select(np.arange(3)), None, rng)
    assert any("Without an encoder" in note for note in bare.summary.notes)
    flat = ImageSet.from_arrays(np.zeros((200, 4, 4, 3), np.uint8), [0] * 200)
    assert any("same features" in note for note in Against(flat, encoder=Colour())._outside(flat)[1])
    for name, value in {"k": 0, "alpha": 0, "fdr": 1}.items():
        with pytest.raises(BadArgument, match=name):
            Against(before, **{name: value})
