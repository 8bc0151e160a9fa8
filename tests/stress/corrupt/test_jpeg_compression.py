"""Against torchvision's codec at the same quality."""

import numpy as np
import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from kintsugi.core.errors import BadData
from kintsugi.stress.corrupt.jpeg_compression import JpegCompression


@pytest.fixture(scope="module")
def photo():
    from sklearn.datasets import load_sample_image

    return torch.from_numpy(load_sample_image("china.jpg")[100:180, 200:296].copy()).permute(2, 0, 1)[None]


def test_agrees_with_torchvision(photo):
    for severity, quality in enumerate(JpegCompression.large, start=1):
        made = JpegCompression("large")(photo.float() / 255, severity, torch.Generator())[0] * 255
        wanted = decode_jpeg(encode_jpeg(photo[0], quality=quality), mode=ImageReadMode.RGB).float()
        assert (made - wanted).abs().mean() < 1.5  # two builds of the codec round differently
        assert (made - photo[0]).abs().mean() > 3


def test_worse_with_severity_and_grey_stays_grey(photo):
    grey = photo.float().mean(1, keepdim=True) / 255
    lost = [float((JpegCompression()(grey, s, torch.Generator()) - grey).pow(2).mean()) for s in range(1, 6)]
    assert np.all(np.diff(lost) > 0)


def test_other_channels_are_refused():
    with pytest.raises(BadData, match="4 channels"):
        JpegCompression()(torch.zeros(1, 4, 8, 8), 1, torch.Generator())
