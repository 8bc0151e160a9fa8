"""The pickle layout of downsampled ImageNet comes back exactly, and its pickles are never run."""

import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.compose.downsample import downsample, downsample_folder
from kintsugi.data.formats import imagenet_small, open_data
from kintsugi.data.formats.plain_pickle import load
from kintsugi.data.imageset import ImageSet


def made(count=37, side=6, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSet.from_arrays(
        pixels,
        rng.integers(0, 3, count),
        ["kit fox", "crane", "4"],
        split=["train" if k % 5 else "val" for k in range(count)],
    )


def as_published(folder, pixels, labels, protocol=3, number=1, **more):
    """What the official script writes: plane after plane, labels from 1."""
    flat = np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in pixels])
    held = {"data": flat, "labels": labels, "mean": flat.mean(axis=0), **more}
    (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps(held, protocol=protocol))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_batches_as_published(tmp_path, protocol):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    as_published(tmp_path, pixels[:3], [1, 3, 2], protocol)
    as_published(tmp_path, pixels[3:], [np.int64(2), np.int64(1)], protocol, number=10)
    data = open_data(tmp_path)
    assert data.classes == ("1", "2", "3")
    assert data.labels.tolist() == [0, 2, 1, 1, 0]
    np.testing.assert_array_equal(np.stack([data[k].image for k in range(5)]), pixels)
    mean = imagenet_small.mean_image(tmp_path)
    np.testing.assert_allclose(mean, pixels[:3].mean(axis=0))
    (tmp_path / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn02012849 2 crane\nn03126707 3 crane\n")
    assert open_data(tmp_path).classes == ("kit_fox", "crane (n02012849)", "crane (n03126707)")
    assert open_data(tmp_path, classes=["a", "b", "c"]).column("label").tolist() == [0, 2, 1, 1, 0]


def test_round_trip_is_exact(tmp_path):
    data = made()
    back = imagenet_small.write(data, tmp_path / "out")
    order = np.argsort(np.array(data.column("split")) == "val", kind="stable")  # training first
    assert back.classes == data.classes
    assert back.labels.tolist() == data.labels[order].tolist()
    assert back.column("split").tolist() == data.column("split")[order].tolist()
    np.testing.assert_array_equal(
        np.stack([back[k].image for k in range(len(back))]), np.stack([data[int(k)].image for k in order])
    )
    assert sorted(path.name for path in (tmp_path / "out").glob("train*")) == sorted(
        f"train_data_batch_{k}" for k in range(1, 11)
    )
    train = data.where(split="train")
    np.testing.assert_allclose(
        imagenet_small.mean_image(tmp_path / "out"), np.mean([train[k].image for k in range(len(train))], axis=0)
    )
    held = pickle.loads((tmp_path / "out/train_data_batch_10").read_bytes())  # as others will read them
    assert set(held) == {"data", "labels", "mean"}
    assert min(held["labels"]) >= 1
    assert open_data(tmp_path / "out").fingerprint == back.fingerprint


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 25), side=st.integers(1, 5), seed=st.integers(0, 99))
def test_any_number_of_images(tmp_path_factory, count, side, seed):
    rng = np.random.default_rng(seed)
    data = ImageSet.from_arrays(
        rng.integers(0, 256, (count, side, side)).astype(np.uint8), rng.integers(0, 12, count), list("abcdefghijkl")
    )
    back = imagenet_small.write(data, tmp_path_factory.mktemp("any") / "out")
    assert back.labels.tolist() == data.labels.tolist()
    assert all(np.array_equal(back[k].image, data[k].image) for k in range(count))


class Evil:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def poisoned(kind, flag):
    """Pickles that do something, or would take all memory."""
    if kind == "system":
        return pickle.dumps({"data": Evil(__import__("os").system, (f"touch {flag}",)), "labels": []})
    if kind == "eval":
        return pickle.dumps(Evil(eval, (f"open({str(flag)!r}, 'w')",)))
    if kind == "object array":
        return pickle.dumps({"data": np.array([{"a": 1}], dtype=object), "labels": [1]})
    if kind == "structured array":
        return pickle.dumps(np.zeros(3, dtype=[("a", "u1")]))
    if kind == "own class":
        return pickle.dumps(Evil(np.lib.format.open_memmap, (str(flag), "w+")))
    if kind == "memo bomb":
        return b"\x80\x02Nr" + (2**31).to_bytes(4, "little") + b"."
    if kind == "attribute":  # sets __defaults__ of what stands for _codecs.encode
        return b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__N\x85s\x86b."
    if kind == "length":
        return pickle.dumps(np.zeros(8, np.uint8)).replace(b"\x08\x00", b"\x09\x00", 1)
    if kind == "set":
        return pickle.dumps({1, 2})
    if kind == "cut off":
        return pickle.dumps({"data": np.zeros((2, 12), np.uint8), "labels": [1, 2]})[:-20]
    if kind == "nested":
        nest = []
        for _ in range(5000):
            nest = [nest]
        with pytest.raises(RecursionError):
            pickle.dumps(nest)
        return b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
    if kind == "wide":
        level = ["x"]
        for _ in range(19):
            level = [level] * 50
        return pickle.dumps(level)
    return b"no pickle at all"


@pytest.mark.parametrize(
    "kind",
    "system, eval, object array, structured array, own class, memo bomb, length, set, cut off, nested, text".split(
        ", "
    ),
)
def test_what_is_not_plain_is_refused_and_not_run(tmp_path, kind):
    flag = tmp_path / "ran"
    (tmp_path / "train_data_batch_1").write_bytes(poisoned(kind, flag))
    with pytest.raises(BadData):
        open_data(tmp_path)
    assert not flag.exists()


def test_what_is_held_many_times_is_looked_at_once(tmp_path):
    (tmp_path / "wide").write_bytes(poisoned("wide", None))
    deep = load(tmp_path / "wide")
    assert len(deep) == 50


def test_a_pickle_cannot_change_what_stands_for_names(tmp_path):
    (tmp_path / "bad").write_bytes(poisoned("attribute", None))
    assert any(op.name == "BUILD" for op, _, _ in pickletools.genops((tmp_path / "bad").read_bytes()))
    with pytest.raises(BadData):
        load(tmp_path / "bad")
    (tmp_path / "good").write_bytes(pickle.dumps({"data": b"\x00\xff"}, protocol=2))  # bytes go by _codecs.encode
    assert load(tmp_path / "good") == {"data": b"\x00\xff"}


@pytest.mark.parametrize("kind", ["u1", "i4", "<f8", ">f4", "?"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_arrays_come_back(tmp_path, kind, protocol):
    array = np.arange(12).reshape(3, 4).astype(kind)
    for one in (array, np.asfortranarray(array), array[:0], np.array(3, kind)):
        (tmp_path / "a").write_bytes(pickle.dumps({"a": one, "b": (1, [2.5, None, "é"])}, protocol=protocol))
        held = load(tmp_path / "a")
        np.testing.assert_array_equal(held["a"], one)
        assert held["a"].dtype == one.dtype
        assert held["b"] == (1, [2.5, None, "é"])


def test_bad_layouts_are_named(tmp_path):
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    as_published(tmp_path, pixels, [0, 1])
    with pytest.raises(BadData, match="start at 1"):
        open_data(tmp_path)
    as_published(tmp_path, pixels, [1])
    with pytest.raises(BadData, match="shape"):
        open_data(tmp_path)
    as_published(tmp_path, pixels, [1, 2])
    as_published(tmp_path, np.zeros((2, 5, 5, 3), np.uint8), [1, 2], number=2)
    with pytest.raises(BadData, match=r"sizes \[4, 5\]"):
        open_data(tmp_path)
    with pytest.raises(BadArgument, match="label"):
        open_data(tmp_path, label="y")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadData, match="Name the folder"):
        open_data(tmp_path / "file", format="imagenet_small")
    data = made()
    with pytest.raises(BadData, match="no label"):
        imagenet_small.write(data.relabel(np.full(len(data), -1)), tmp_path / "a")
    with pytest.raises(BadData, match="test, val"):
        imagenet_small.write(data.with_column("split", ["val", "test", *["train"] * 35]), tmp_path / "b")
    with pytest.raises(BadData, match="4 x 6"):
        imagenet_small.write(ImageSet.from_arrays(np.zeros((2, 4, 6), np.uint8), [0, 0]), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_folder_of_photographs_becomes_batches(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for k in range(3):
            high, wide = rng.integers(9, 30, 2)
            picture = Image.fromarray(rng.integers(0, 256, (high, wide, 3)).astype(np.uint8))
            picture.save(tmp_path / "in" / name / f"{k}.png")
    (tmp_path / "in/dog/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    back = downsample_folder(tmp_path / "in", tmp_path / "out", 8, form="imagenet_small")
    png = downsample_folder(tmp_path / "in", tmp_path / "png", 8)
    held = downsample(open_data(tmp_path / "in"), 8)
    assert len(back) == len(png) == len(held) == 6
    for k in range(6):
        np.testing.assert_array_equal(back[k].image, held[k].image)
        np.testing.assert_array_equal(png[k].image, held[k].image)
    assert back.classes == ("cat", "dog")
