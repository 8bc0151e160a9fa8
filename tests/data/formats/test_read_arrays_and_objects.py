"""npz archives, Hugging Face and torchvision datasets: objects and files on disk."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from data_pictures import class_folders, encoded, image, put
from PIL import Image

from kintsugi.core.errors import BadArgument, BadData, MissingDependency
from kintsugi.data.formats import open_data
from kintsugi.data.imageset import ImageSet

PIXELS = np.stack([image(k) for k in range(6)])
LABELS = np.array([0, 1, 2, 0, 1, 2])


# --------------------------------------------------------------------------------------------------------- npz


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npz_with_x_and_y(tmp_path):
    for x in (PIXELS, PIXELS[..., 0], PIXELS[..., :1], PIXELS.transpose(0, 3, 1, 2)):
        data = open_data(npz(tmp_path / "a.npz", x=x, y=LABELS[:, None], camera=list("uvwxyz"), other=np.zeros(3)))
        assert data.labels.tolist() == LABELS.tolist()
        expected = (
            x.transpose(0, 2, 3, 1)[4]
            if x.ndim == 4 and x.shape[1] == 3
            else np.broadcast_to(x[4].reshape(12, 16, -1), (12, 16, 3))
        )
        assert np.array_equal(data[4].image, expected)
        assert data.attributes == ("camera",)


def test_npz_with_splits(tmp_path):
    path = npz(
        tmp_path / "a.npz",
        x_train=PIXELS[:4], y_train=LABELS[:4], x_test=PIXELS[4:], y_test=LABELS[4:],
        camera_train=[1, 2, 3, 4], camera_test=[5, 6], noisy=[2, 1, 2, 0], mask_test=PIXELS[4:, ..., 0] > 60,
    )  # fmt: skip
    data = open_data(path, annotators=["noisy"])
    assert data.column("split").tolist() == ["train"] * 4 + ["test"] * 2
    assert data.ids == ["train/000000", "train/000001", "train/000002", "train/000003", "test/000000", "test/000001"]
    assert data.column("camera").tolist() == [1, 2, 3, 4, 5, 6]
    assert data.table.column("annotators").to_pylist() == [[2], [1], [2], [0], [-1], [-1]]
    assert np.array_equal(np.concatenate([images for _, images in data.stream(4)]), PIXELS)
    assert np.array_equal(data.mask(5), PIXELS[5, ..., 0] > 60)
    assert data.mask(0) is None


def test_npz_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(BadArgument, match="it has: z"):
        open_data(npz(path, z=PIXELS))
    with pytest.raises(BadData, match=r"x in .*float64"):
        open_data(npz(path, x=PIXELS / 255.0, y=LABELS))
    with pytest.raises(BadData, match=r"y in .* shape \(3,\) for 6 images"):
        open_data(npz(path, x=PIXELS, y=LABELS[:3]))
    with pytest.raises(BadArgument, match="no array 'species'"):
        open_data(npz(path, x=PIXELS, y=LABELS), label="species")
    with pytest.raises(BadData, match="outside the 2 classes"):
        open_data(npz(path, x=PIXELS, y=LABELS), classes=["a", "b"])
    with pytest.raises(BadData, match="unpickling"):
        open_data(npz(path, x=PIXELS, y=np.array([{}] * 6, dtype=object)))
    with pytest.raises(BadData, match="NumPy archive"):
        open_data(put(path, b"no archive"))


@pytest.mark.data
def test_cifar10_with_human_labels():
    path = Path(os.environ["KINTSUGI_DATA"]) / "cifar10_10k_train_2k_test_with_cifar10n.npz"
    data = open_data(path, annotators=["cifar10n_random_label1", "cifar10n_random_label2"])
    assert len(data) == 12_000
    train = data.split("train")
    votes = np.array(train.table.column("annotators").to_pylist())
    assert votes.shape == (10_000, 2)
    assert 0.7 < (votes[:, 0] == train.labels).mean() < 0.9


# ------------------------------------------------------------------------------------------------ hugging face


def dataset(rows=range(6), **columns):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.ClassLabel(names=["z", "y", "x"]),
                                  **{name: datasets.Value("string") for name in columns}})  # fmt: skip
    cells = {"picture": [Image.fromarray(PIXELS[k]) for k in rows], "label": [int(LABELS[k]) for k in rows], **columns}
    return datasets.Dataset.from_dict(cells, features=features)


def test_hugging_face_objects(tmp_path):
    whole = dataset(place=list("abcdef"))
    data = open_data(whole)
    assert data.classes == ("z", "y", "x")  # declared, hence not sorted
    assert data.labels.tolist() == LABELS.tolist()
    assert data.column("place").tolist() == list("abcdef")
    assert np.array_equal(np.concatenate([images for _, images in data.stream(4)]), PIXELS)
    some = open_data(whole.select([5, 0, 3]))
    assert some.column("place").tolist() == ["f", "a", "d"]
    assert np.array_equal(some[0].image, PIXELS[5])


def test_hugging_face_dictionaries_and_saved_ones(tmp_path):
    datasets = pytest.importorskip("datasets")
    parts = datasets.DatasetDict({"train": dataset(range(4)), "validation": dataset(range(4, 6))})
    parts.save_to_disk(str(tmp_path / "saved"))
    for data in (open_data(parts), open_data(tmp_path / "saved"), open_data(str(tmp_path / "saved"))):
        assert data.column("split").tolist() == ["train"] * 4 + ["val"] * 2
        assert data.ids[4] == "val/00000000"
        assert np.array_equal(data[5].image, PIXELS[5])
    dataset().to_parquet(str(tmp_path / "t.parquet"))
    flat = open_data(tmp_path / "t.parquet", path="picture")
    assert flat.classes == ("z", "y", "x")
    assert np.array_equal(flat[2].image, PIXELS[2])


def test_hugging_face_names_that_cannot_be_had(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets")
    with pytest.raises(BadArgument, match="hf:NAME@SPLIT"):
        open_data("hf:three/part/name")
    import datasets

    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(BadData, match=r"hf:no/such cannot be had .*no network"):
        open_data("hf:no/such")
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, config, split: dataset() if (name, config, split) == ("a/b", "c", "train[:5]") else None,
    )
    assert len(open_data("hf:a/b:c@train[:5]")) == 6


def test_hugging_face_without_images():
    datasets = pytest.importorskip("datasets")
    with pytest.raises(BadArgument, match=r"no column of images.*it has: words"):
        open_data(datasets.Dataset.from_dict({"words": ["a"]}))
    with pytest.raises(BadArgument, match="'kind'"):
        open_data(dataset(), label="kind")
    with pytest.raises(BadData, match="stream"):
        open_data(dataset().to_iterable_dataset())


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingDependency, match=r"kintsugi-vision\[data\]"):
        open_data("hf:a/b")


# ------------------------------------------------------------------------------------------------- torchvision


def test_torchvision_image_folder_object(tmp_path):
    theirs = torchvision.datasets.ImageFolder(class_folders(tmp_path), transform=torchvision.transforms.ToTensor())
    data = open_data(theirs)
    assert data.classes == tuple(theirs.classes)
    assert data.fingerprint == open_data(tmp_path).fingerprint
    part = open_data(torch.utils.data.Subset(theirs, [4, 1]))
    assert part.ids == ["dog/1.png", "cat/1.png"]


def test_torchvision_objects_in_memory_and_any_other():
    class Held:
        data, targets, classes = PIXELS, LABELS.tolist(), ["a", "b", "c"]

        def __len__(self):
            return 6

        def __getitem__(self, k):
            raise AssertionError("pixels in memory are not read one by one")

    assert np.array_equal(open_data(Held())[3].image, PIXELS[3])
    fake = torchvision.datasets.FakeData(5, (3, 8, 8), 3)
    data = open_data(fake)
    assert np.array_equal(data[2].image, np.asarray(fake[2][0]))
    assert data.labels.tolist() == [int(fake[k][1]) for k in range(5)]
    assert data.fingerprint == open_data(fake).fingerprint
    normalised = open_data(torchvision.datasets.FakeData(2, (3, 8, 8), 3, transform=torchvision.transforms.ToTensor()))
    with pytest.raises(BadData, match="without a transform"):
        normalised[0]
    with pytest.raises(BadData, match=r"not .image, label"):
        open_data([1, 2])


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_files(tmp_path, packed):
    raw = tmp_path / "FashionMNIST" / "raw"
    grey = np.ascontiguousarray(PIXELS[..., 0])
    for stem, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        for name, array in (
            (f"{stem}-images-idx3-ubyte", grey[rows]),
            (f"{stem}-labels-idx1-ubyte", LABELS[rows].astype(np.uint8)),
        ):
            put(raw / (name + ".gz" * packed), gzip.compress(idx(array)) if packed else idx(array))
    for path in (tmp_path, raw):
        data = open_data(path)
        assert data.classes[:2] == ("T-shirt/top", "Trouser")
        assert data.column("split").tolist() == ["train"] * 4 + ["test"] * 2
        assert np.array_equal(data[4].image[..., 1], grey[4])
    if not packed:
        theirs = torchvision.datasets.FashionMNIST(tmp_path, train=True)
        assert np.array_equal(theirs.data.numpy(), grey[:4])
    (next(raw.glob("train-images*"))).write_bytes(b"damaged")
    with pytest.raises(BadData, match="train-images"):
        open_data(tmp_path)


def test_cifar_binary_files(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    labels = np.array([9, 0, 3, 3, 1], dtype=np.uint8)
    records = np.concatenate([labels[:, None], pixels.transpose(0, 3, 1, 2).reshape(5, -1)], axis=1).tobytes()
    folder = tmp_path / "cifar-10-batches-bin"
    put(folder / "data_batch_1.bin", records[: 3 * 3073])
    put(folder / "test_batch.bin", records[3 * 3073 :])
    data = open_data(tmp_path)
    assert data.classes[9] == "truck"
    assert data.labels.tolist() == labels.tolist()
    assert np.array_equal(np.concatenate([images for _, images in data.stream(4)]), pixels)
    put(folder / "test_batch.bin", records[:100])
    with pytest.raises(BadData, match="multiple of 3073"):
        open_data(tmp_path)


class Trap:
    def __reduce__(self):
        return (os.system, ("touch /tmp/kintsugi-was-trapped",))


def test_forged_cifar_pickles_are_not_unpickled(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    for name in ("batches.meta", "test_batch", *(f"data_batch_{k}" for k in range(1, 6))):
        put(folder / name, pickle.dumps(Trap()))
    with pytest.raises(BadData, match="pickles"):
        open_data(tmp_path)
    assert not Path("/tmp/kintsugi-was-trapped").exists()


def test_an_image_set_is_itself():
    data = ImageSet.from_arrays(PIXELS, LABELS)
    assert open_data(data) is data
    with pytest.raises(BadArgument, match="already has its columns"):
        open_data(data, label="y")
    assert encoded(PIXELS[0])
