"""Odd and broken images: each decodes the stated way, or says why it cannot."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from data_pictures import encoded, image, put
from PIL import Image
from torchvision.transforms import v2

from kintsugi.data import decode as module
from kintsugi.data.decode import decode, header
from kintsugi.data.source import BadImage
from kintsugi.data.stream import resized


def reason(content, **options):
    with pytest.raises(BadImage) as caught:
        decode(content, "x.jpg", **options)
    assert "x.jpg" in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("codec", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(codec, orientation):
    y, x = np.mgrid[0:16, 0:24]
    original = np.stack([y * 14, x * 10, 0 * x], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if codec == "WEBP" else {"quality": 100, "subsampling": 0} if codec == "JPEG" else {}
    # EXIF 2.32, 4.6.4 A: where row 0 and column 0 of the stored image stand for the viewer
    upright = {
        1: original,
        2: original[:, ::-1],
        3: original[::-1, ::-1],
        4: original[::-1],
        5: original.transpose(1, 0, 2),
        6: np.rot90(original, -1),
        7: original[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(original, 1),
    }[orientation]
    found = decode(encoded(original, codec, exif=exif.tobytes(), **options), "x")
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= (4 if codec == "JPEG" else 0)


def test_grey_and_palette_become_rgb():
    grey = image(1)[..., 0]
    assert np.array_equal(decode(encoded(grey), "x"), np.repeat(grey[..., None], 3, axis=2))
    palette = Image.fromarray(image(1)).quantize(256)
    assert np.array_equal(decode(encoded(palette), "x"), np.asarray(palette.convert("RGB")))
    bits = grey > 100
    assert np.array_equal(decode(encoded(bits), "x")[..., 0], bits * np.uint8(255))


def test_transparency_is_composited_over_white():
    alpha = (np.arange(12 * 16).reshape(12, 16) % 256).astype(np.uint8)
    layer = np.dstack([image(2), alpha])
    share = alpha[..., None] / 255
    expected = image(2) * share + 255 * (1 - share)
    assert np.abs(decode(encoded(layer), "x") - expected).max() <= 1
    grey = encoded(Image.fromarray(np.dstack([image(2)[..., 0], alpha]), "LA"))
    assert np.abs(decode(grey, "x")[..., 0] - expected[..., 0]).max() <= 1
    see_through = Image.new("P", (4, 4), 7)
    see_through.putpalette([10, 20, 30] * 256)
    assert (decode(encoded(see_through, transparency=7), "x") == 255).all()
    assert (decode(encoded(see_through), "x") == (10, 20, 30)).all()


def test_cmyk_is_converted():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(decode(encoded(red, "JPEG"), "x").astype(int) - (255, 0, 0)).max() <= 3
    assert np.abs(decode(encoded(red, "TIFF"), "x").astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("codec", ["PNG", "TIFF", "PPM"])
def test_16_bit_is_scaled_not_clipped(codec):
    values = np.linspace(0, 65535, 12 * 16).reshape(12, 16).astype(np.uint16)
    found = decode(encoded(values, codec), "x")
    assert found.shape == (12, 16, 3)
    assert np.abs(found[..., 0] - values / 257).max() <= 0.5


def test_floats_are_read_as_0_to_1_and_other_ranges_are_refused():
    values = np.linspace(0, 1, 12).reshape(3, 4).astype(np.float32)
    assert np.abs(decode(encoded(values, "TIFF"), "x")[..., 0] - values * 255).max() <= 0.5
    for bad in (values * 300, values - 0.5, np.full((3, 4), np.nan, dtype=np.float32)):
        assert reason(encoded(bad, "TIFF")) == "value range"
    assert reason(encoded((values * 1e6).astype(np.int32), "TIFF")) == "value range"


def test_an_animation_gives_its_first_frame():
    frames = [Image.fromarray(image(k)).quantize(64) for k in (3, 4)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert header(content, "x").frames == 2
    assert np.array_equal(decode(content, "x"), np.asarray(frames[0].convert("RGB")))


def test_one_pixel():
    assert decode(encoded(image(1, 1, 1)), "x").shape == (1, 1, 3)
    assert decode(encoded(image(1, 1, 1)), "x", enough=(224, 224)).shape == (1, 1, 3)


def test_broken_bytes(tmp_path):
    assert reason(b"") == "empty"
    assert reason(put(tmp_path / "x.jpg", b"")) == "empty"
    assert reason(tmp_path / "nowhere.jpg") == "missing"
    assert reason(b"this is a text and no picture") == "not an image"
    assert reason(tmp_path) == "unreadable"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for codec in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = encoded(noise, codec)
        assert decode(whole, "x").shape == (64, 64, 3)
        assert reason(whole[: len(whole) // 2]) in ("truncated", "corrupt", "not an image")
    assert reason(encoded(noise, "JPEG")[:-2000]) == "truncated"


def test_any_damage_is_a_bad_image_or_an_image():
    rng = np.random.default_rng(0)
    for codec in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        whole = np.frombuffer(encoded(image(1, 24, 24), codec), dtype=np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
            try:
                found = decode(damaged.tobytes(), "x")
            except BadImage:
                continue
            assert found.ndim == 3
            assert found.shape[2] == 3


def test_the_content_decides_not_the_extension(tmp_path):
    notes = []
    path = put(tmp_path / "cat.jpg", encoded(image(1), "PNG"))
    assert np.array_equal(decode(path, "cat.jpg", note=lambda *why: notes.append(why)), image(1))
    assert [why for why, _ in notes] == ["mislabelled extension"]
    decode(put(tmp_path / "dog.jpeg", encoded(image(1), "JPEG")), "dog", note=lambda *why: notes.append(why))
    decode(put(tmp_path / "nameless", encoded(image(1), "JPEG")), "nameless", note=lambda *why: notes.append(why))
    assert len(notes) == 1


def png_header(width, height):
    """A PNG that only claims a size; decoding it would fail, so a bomb must be told by its header."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_bombs_are_never_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a bomb was decoded"))
    assert reason(png_header(20_000, 10_000)) == "bomb"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a program that switched Pillow's own guard off
    assert reason(png_header(20_000, 10_000)) == "bomb"
    assert reason(png_header(2**31 - 1, 2**31 - 1)) == "bomb"


def test_below_the_limit_a_large_image_is_shrunk_on_loading():
    large = Image.new("RGB", (10_000, 10_000), (10, 200, 30))
    small = decode(encoded(large, "JPEG", quality=50), "x", enough=(224, 224))
    assert 2 * 224 <= min(small.shape[:2]) <= 1250
    assert np.abs(small.astype(int) - (10, 200, 30)).max() <= 4


def test_what_is_no_bomb_raises_no_warning(tmp_path):
    path = put(tmp_path / "x.png", png_header(10_000, 10_000))
    program = f"from pathlib import Path; from kintsugi.data.decode import header; header(Path({str(path)!r}), 'x')"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_shrinking_hardly_changes_the_resized_image():
    from sklearn.datasets import load_sample_images

    for photo in load_sample_images().images:
        for codec in ("JPEG", "PNG"):
            content = encoded(photo, codec)
            fair = resized(decode(content, "x"), (48, 48)).astype(float)
            quick = resized(decode(content, "x", enough=(48, 48)), (48, 48)).astype(float)
            assert decode(content, "x", enough=(48, 48)).size < photo.size
            assert np.abs(fair - quick).mean() < 1.5
            assert 10 * np.log10(255**2 / ((fair - quick) ** 2).mean()) > 40


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr(module, "_LARGE_PIXELS", 100)
    content = encoded(image(1))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decode(content, "x"), range(16)))
    assert all(np.array_equal(each, image(1)) for each in found)
    assert not module._one_large.locked()


@pytest.mark.parametrize("size", [(7, 7), (24, 24), (40, 24), (13, 31)])
def test_resizing_matches_torchvision(size):
    original = np.random.default_rng(1).integers(0, 256, (30, 45, 3), dtype=np.uint8)
    found = resized(original, size, "squash").astype(int)
    picture = v2.Resize(size, antialias=True)(Image.fromarray(original))
    assert np.array_equal(found, np.asarray(picture))
    tensor = v2.Resize(size, antialias=True)(torch.from_numpy(original).permute(2, 0, 1).float())
    assert np.abs(found - tensor.permute(1, 2, 0).numpy()).max() <= 1.01


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (24, 24), (10, 17), (33, 33), (100, 31)])
def test_crop_matches_torchvision_resize_and_centre_crop(shape):
    original = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    theirs = v2.Compose([v2.Resize(24), v2.CenterCrop(24)])(Image.fromarray(original))
    assert np.array_equal(resized(original, (24, 24), "crop"), np.asarray(theirs))


def test_pad_keeps_everything_on_black():
    found = resized(np.full((10, 20, 3), 255, dtype=np.uint8), (20, 20), "pad")
    assert (found[:5] == 0).all()
    assert (found[5:15] == 255).all()
    assert (found[15:] == 0).all()
    assert resized(np.full((1, 1000, 3), 9, dtype=np.uint8), (8, 8), "pad").shape == (8, 8, 3)
    assert resized(np.full((1, 1000, 3), 9, dtype=np.uint8), (8, 8), "crop").shape == (8, 8, 3)
