"""What was removed stays removed, in copies too."""

import numpy as np
import pytest

from kintsugi.audit.content.licence_manifest import LicenceManifest
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 5, 5, 3)).astype(np.uint8)
    pixels[5] = pixels[0]  # the same picture under another name
    return ImageSet.from_arrays(
        pixels,
        [0] * 6,
        ["thing"],
        by=["ann", "ann", "ann", "", "bob", "ann"],
        licence=["CC-BY-4.0", "cc-by-4.0", "CC-BY-4.0", "CC-BY-4.0", "CC0-1.0", None],
    )


def test_a_removal_is_a_version_and_reaches_copies(data, tmp_path):
    first = LicenceManifest.of(data, author="by", licence="licence")
    assert (first.version, len(first.present)) == (1, 6)
    second = first.remove({data.ids[0]: "shows a person"})
    third = second.remove({data.ids[4]: "asked for"})
    assert [(entry.id, entry.removed) for entry in third.removals()] == [
        (data.ids[0], 2), (data.ids[5], 2), (data.ids[4], 3),
    ]  # fmt: skip
    assert third.removals()[1].reason == "shows a person"
    assert [entry.id for entry in third.removals(since=2)] == [data.ids[4]]
    assert third.remove({data.ids[4]: "again"}) is third
    assert third.apply(data).ids == data.ids[1:4]
    copy = ImageSet.from_arrays(data.source.image[::-1].copy(), [0] * 6, ["thing"], id=list("abcdef"))
    assert third.apply(copy).ids == ["c", "d", "e"]
    encoded_anew = ImageSet.from_arrays(data.source.image // 2, [0] * 6, ["thing"], id=data.ids)
    assert len(third.apply(encoded_anew)) == 6
    assert third.apply(encoded_anew, names=True).ids == data.ids[1:4]
    third.save(tmp_path / "manifest.jsonl")
    assert LicenceManifest.read(tmp_path / "manifest.jsonl") == third


def test_licences_are_checked(data):
    manifest = LicenceManifest.of(data, author="by", licence="licence")
    refused = manifest.refused(["CC-BY-4.0", "CC0-1.0"], most_by_author=2)
    assert refused == {
        data.ids[2]: "more than 2 images by one author",
        data.ids[3]: "no author to name",
        data.ids[5]: "licence unknown",
    }
    assert data.ids[4] in manifest.refused(["CC-BY-4.0"])
    left = manifest.remove(refused)
    assert [entry.id for entry in left.present] == [data.ids[1], data.ids[4]]  # the copy of a refused picture goes too
    with pytest.raises(BadArgument, match="allowed"):
        manifest.refused("CC0-1.0")


def test_content_that_changed_is_named(data):
    manifest = LicenceManifest.of(data)
    pixels = data.source.image.copy()
    pixels[3, 0, 0, 0] ^= 1
    assert manifest.changed(data) == []
    assert manifest.changed(ImageSet.from_arrays(pixels, [0] * 6, ["thing"])) == [data.ids[3]]


def test_what_is_no_manifest_is_refused(data, tmp_path):
    with pytest.raises(BadArgument, match="nobody"):
        LicenceManifest.of(data).remove({"nobody": "?"})
    with pytest.raises(BadArgument, match="author"):
        LicenceManifest.of(data, author="author")
    with pytest.raises(BadData, match="does not exist"):
        LicenceManifest.read(tmp_path / "none")
    for text in ("", "[]\n", '{"version": 1}\n{"id": "a"}\n', '{"id": "a"}\n'):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(BadData, match="no manifest"):
            LicenceManifest.read(tmp_path / "bad")
