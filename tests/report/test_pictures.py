"""Thumbnails: small, exact where the image is small, and nothing but PNG or JPEG."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.report.pictures import data_uri, gather, kind_of, shown, size_of, thumbnail


def test_small_images_keep_their_pixels():
    image = numpy_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(thumbnail(image)))) == image).all()
    as_float = thumbnail(image.transpose(2, 0, 1) / 255.0)
    assert (np.asarray(Image.open(io.BytesIO(as_float))) == image).all()


def test_photographs_become_small_jpegs_of_the_same_shape():
    photo = load_sample_images().images[0]
    made = thumbnail(photo)
    assert kind_of(made) == "image/jpeg"
    assert size_of(made) == (96, 64)
    assert len(made) < 4000
    assert size_of(thumbnail(photo, 16)) == (16, 11)


def test_other_files_are_refused():
    for picture in (b"", b"<svg onload=alert(1)>", b"GIF89a"):
        with pytest.raises(BadData, match="neither PNG nor JPEG"):
            data_uri(picture)
    with pytest.raises(BadData, match="shape"):
        thumbnail(np.zeros((4, 4)))
    with pytest.raises(BadArgument, match="size"):
        thumbnail(np.zeros((4, 4, 3)), 0)


def finding(name, score, flagged):
    return Finding("sample", (name,), score, flagged, "check", "review", "why")


def test_gather_reads_only_what_is_shown():
    class Counting:
        fingerprint = "x"

        def __init__(self):
            self.read_rows = []

        def __len__(self):
            return 50

        def read(self, row):
            self.read_rows.append(row)
            return np.full((8, 8, 3), row, dtype=np.uint8)

    import pyarrow as pa

    source = Counting()
    data = ImageSet(source, pa.table({"id": [f"s{i}" for i in range(50)], "label": [0] * 50}), ["a"])
    found = Findings.of([finding(f"s{i}", i / 50, i >= 40) for i in range(50)], "check")
    made = gather(data, [found], per_check=4)
    assert sorted(made) == ["s46", "s47", "s48", "s49"]
    assert sorted(source.read_rows) == [46, 47, 48, 49]
    assert [row.ids for row in shown(found, 2)] == [("s49",), ("s48",)]
