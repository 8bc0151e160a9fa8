"""Embedded colour profiles: every image becomes sRGB; what has none, or sRGB itself, is untouched."""

import icc_profiles as icc
import numpy as np
import pytest
from data_pictures import encoded, image, put
from PIL import Image, ImageCms

from kintsugi.data import colour
from kintsugi.data.colour import BadProfile, to_srgb
from kintsugi.data.decode import decode

GRID = np.stack(np.meshgrid(*[np.linspace(40, 215, 6)] * 3), axis=-1).reshape(36, 6, 3).astype(np.uint8)


def shown(linear):
    """Linear light to 8-bit sRGB, IEC 61966-2-1."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def expected(primaries, gamma, rgb):
    return shown((rgb / 255.0) ** gamma @ (np.linalg.inv(icc.SRGB) @ primaries).T)


@pytest.mark.parametrize("codec", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG"])
def test_display_p3_becomes_srgb(codec):
    options = {"quality": 100, "subsampling": 0} if codec == "JPEG" else {}
    options |= (
        {"lossless": True} if codec == "WEBP" else {"quality": 100, "subsampling": "4:4:4"} if codec == "AVIF" else {}
    )
    if codec == "AVIF":
        Image.init()
        if "AVIF" not in Image.SAVE:
            pytest.skip("this Pillow has no AVIF")
    patches = np.kron(GRID, np.ones((8, 8, 1), dtype=np.uint8)) if codec in ("JPEG", "AVIF") else GRID
    found = decode(encoded(patches, codec, icc_profile=icc.rgb(icc.DISPLAY_P3, 2.2), **options), "x").astype(int)
    wanted = expected(icc.DISPLAY_P3, 2.2, patches)
    assert np.abs(found - wanted).max() <= (7 if codec in ("JPEG", "AVIF") else 2)
    assert np.abs(found - patches).max() > 15  # it does matter


def test_the_transform_keeps_transparency():
    layer = np.dstack([GRID, np.full(GRID.shape[:2], 128, dtype=np.uint8)])
    wanted = expected(icc.DISPLAY_P3, 2.2, GRID) * (128 / 255) + 255 * (127 / 255)
    found = decode(encoded(layer, "PNG", icc_profile=icc.rgb(icc.DISPLAY_P3, 2.2)), "x")
    assert np.abs(found - wanted).max() <= 2
    ramp = np.arange(256, dtype=np.uint8)[None]
    both = Image.merge("LA", [Image.fromarray(ramp), Image.new("L", (256, 1), 128)])
    found = decode(encoded(both, "PNG", icc_profile=icc.grey(1.8)), "x")
    assert np.abs(found[0, :, 0] - (shown((ramp[0] / 255) ** 1.8) * (128 / 255) + 127)).max() <= 2


def test_grey_and_palette_follow_their_profile():
    ramp = np.arange(256, dtype=np.uint8)[None]
    found = decode(encoded(ramp, "PNG", icc_profile=icc.grey(1.8)), "x")
    assert found.shape == (1, 256, 3)
    assert np.abs(found[0] - shown((ramp.T / 255) ** 1.8)).max() <= 1.5
    palette = Image.fromarray(GRID).quantize(256)
    found = decode(encoded(palette, "PNG", icc_profile=icc.rgb(icc.DISPLAY_P3, 2.2)), "x")
    assert np.abs(found - expected(icc.DISPLAY_P3, 2.2, np.asarray(palette.convert("RGB")))).max() <= 2


def test_cmyk_follows_the_inks_of_its_press():
    plate = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    plate.paste((0, 0, 0, 0), (0, 0, 4, 8))
    found = decode(encoded(plate, "TIFF", icc_profile=icc.ink(50.0)), "x").astype(int)
    assert (found[:, :4] >= 253).all()  # paper
    assert np.abs(found[:, 4:] - 119).max() <= 2  # L* 50 is 119 in sRGB; without the profile it would be cyan


def test_srgb_by_any_name_is_left_alone():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.fromarray(image(1))
    assert to_srgb(picture, profile) is picture
    assert np.array_equal(decode(encoded(picture, "PNG", icc_profile=profile), "x"), image(1))


def test_a_profile_that_cannot_be_used_is_noted_and_the_image_kept(tmp_path):
    for number, profile in enumerate((b"no profile", icc.rgb(icc.DISPLAY_P3, 2.2)[:200], icc.ink(50.0))):
        notes = []
        path = put(tmp_path / f"{number}.png", encoded(image(1), "PNG", icc_profile=profile))
        assert np.array_equal(decode(path, "x", note=lambda *why, notes=notes: notes.append(why)), image(1))
        assert [reason for reason, _ in notes] == ["colour profile"]
    with pytest.raises(BadProfile, match="mode RGB"):
        to_srgb(Image.fromarray(image(1)), icc.grey(2.2))


def test_transforms_are_built_once_and_no_more_than_some_are_kept(monkeypatch):
    monkeypatch.setattr(colour, "_transforms", {})
    monkeypatch.setattr(colour, "_KEPT", 3)
    built = []
    monkeypatch.setattr(colour, "_built", lambda profile, mode: built.append(profile))
    picture = Image.fromarray(image(1))
    for profile in [b"a", b"a", b"b", b"c", b"d", b"d"]:
        to_srgb(picture, profile)
    assert built == [b"a", b"b", b"c", b"d"]
    assert len(colour._transforms) <= 3
