import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import nn

from kintsugi.core.errors import BadData
from kintsugi.core.kinds import Encoder
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage
from kintsugi.models.cache import embed
from kintsugi.models.encoder import PixelEncoder


class Counting(nn.Module):
    name, preprocess = "counting", None

    def __init__(self, fingerprint="f", stop=None):
        super().__init__()
        self.fingerprint, self.stop, self.count = fingerprint, stop, 0

    def forward(self, image):
        self.count += len(image)
        if self.stop is not None and self.count > self.stop:
            raise KeyboardInterrupt
        return image.mean((2, 3))


def data(count=20, first=0):
    image = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)[first : first + count]
    return ImageSet.from_arrays(image, np.zeros(count), ("a",), id=[f"{first}-{k}" for k in range(count)])


def means(images):
    return images.source.image[images.rows].mean((1, 2)) / 255


def test_vectors_are_right_with_and_without_a_cache(tmp_path):
    assert isinstance(Counting(), Encoder)
    for cache in (None, tmp_path):
        made = embed(Counting(), data(), cache=cache, batch_size=7)
        assert made.dtype == np.float32
        assert np.allclose(made, means(data()), atol=1e-6)


def test_what_was_seen_is_not_run_again(tmp_path):
    embed(Counting(), data(20), cache=tmp_path)
    again = Counting()
    assert np.allclose(embed(again, data(20), cache=tmp_path), means(data()), atol=1e-6)
    assert again.count == 0
    grown = Counting()  # other ids and positions, half of the pixels known
    assert np.allclose(embed(grown, data(20, first=10), cache=tmp_path), means(data(20, 10)), atol=1e-6)
    assert grown.count == 10
    other = Counting("g")
    embed(other, data(20), cache=tmp_path)
    assert other.count == 20


def test_equal_images_are_run_once():
    image = np.repeat(data().source.image[:2], 5, axis=0)
    encoder = Counting()
    made = embed(encoder, ImageSet.from_arrays(image, np.zeros(10)))
    assert encoder.count == 2
    assert np.array_equal(made[0], made[4])


@pytest.mark.parametrize("harm", ["cut", "garbage", "flip"])
def test_a_broken_shard_is_made_again(tmp_path, harm):
    embed(Counting(), data(), cache=tmp_path)
    (shard,) = tmp_path.rglob("*.safetensors")
    if harm == "flip":
        tensors = load_file(shard)
        tensors["vector"][3, 1] += 0.5
        save_file(tensors, shard, {"checksum": shard.stem})
    else:
        shard.write_bytes(shard.read_bytes()[:50] if harm == "cut" else b"garbage" * 30)
    encoder = Counting()
    with pytest.warns(UserWarning, match="cache .* is broken"):
        made = embed(encoder, data(), cache=tmp_path)
    assert np.allclose(made, means(data()), atol=1e-6)
    assert encoder.count == 20
    again = Counting()
    embed(again, data(), cache=tmp_path)
    assert again.count == 0


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("kintsugi.models.cache._SHARD_ROWS", 4)
    with pytest.raises(KeyboardInterrupt):
        embed(Counting(stop=13), data(), cache=tmp_path, batch_size=4)
    encoder = Counting()
    assert np.allclose(embed(encoder, data(), cache=tmp_path, batch_size=4), means(data()), atol=1e-6)
    assert encoder.count == 8


class Torn:
    fingerprint = "torn"

    def __len__(self):
        return 3

    def read(self, row):
        if row == 1:
            raise BadImage("1.png", "truncated")
        return np.full((5, 4 + row, 3), 100, dtype=np.uint8)


def test_bad_images_are_rows_of_nan(tmp_path):
    images = ImageSet(Torn(), pa.table({"id": ["a", "b", "c"], "label": [0, 0, 0]}), ("x",))
    made = embed(PixelEncoder(4), images, cache=tmp_path)
    assert np.isnan(made[1]).all()
    assert np.allclose(made[[0, 2]], 100 / 255)
    assert [problem.id for problem in images.problems] == ["b"]


def photographs(folder, *names):
    from kintsugi.data.formats import open_data

    for name in names:
        file = folder / "a" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = sum(map(ord, name)) % 200
        Image.fromarray(np.full((6, 6, 3), shade, dtype=np.uint8)).save(file)
    return open_data(folder)


def test_files_are_known_by_their_bytes(tmp_path):
    cache = tmp_path / "cache"
    embed(Counting(), photographs(tmp_path / "one", "x", "y"), cache=cache)
    grown = photographs(tmp_path / "two", "w", "x", "y")  # a copy elsewhere, with one more
    encoder = Counting()
    made = embed(encoder, grown, cache=cache)
    assert encoder.count == 1
    assert np.allclose(made[:, 0] * 255, [sum(map(ord, name.split("/")[-1][0])) for name in grown.ids], atol=1e-3)
    joined = ImageSet.concat([grown, data(3)])
    again = Counting()
    assert embed(again, joined, cache=cache).shape == (6, 3)
    assert again.count == 3


def test_a_file_that_vanishes_is_a_row_of_nan(tmp_path):
    images = photographs(tmp_path / "one", "x", "y")
    (tmp_path / "one" / "a" / "x.png").unlink()
    made = embed(Counting(), images, cache=tmp_path / "cache")
    assert np.isnan(made[0]).all()
    assert np.isfinite(made[1]).all()


def test_nan_vectors_are_refused():
    class Bad(Counting):
        def forward(self, image):
            return image.mean((2, 3)) * torch.nan

    with pytest.raises(BadData, match="NaN"):
        embed(Bad(), data())
