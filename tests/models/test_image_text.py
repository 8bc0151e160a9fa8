"""A CLIP-like net is an encoder and a reader; its vectors are open_clip's own."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from kintsugi.core.errors import BadArgument
from kintsugi.core.kinds import Encoder, ImageTextEncoder
from kintsugi.data.imageset import ImageSet
from kintsugi.models.cache import embed
from kintsugi.models.image_text import open_image_text

open_clip = pytest.importorskip("open_clip")
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def _tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "kintsugi-both.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)


def test_both_halves_are_open_clips(tmp_path):
    clip = open_clip.create_model("kintsugi-both").eval()
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    encoder = open_image_text("open_clip:kintsugi-both", weights=tmp_path / "clip.pt")
    assert isinstance(encoder, ImageTextEncoder)
    assert isinstance(encoder, Encoder)
    texts = [f"a photo of {k} things" for k in range(300)]  # more than are embedded at a time
    image = torch.rand(3, 3, 40, 32)
    with torch.no_grad():
        expected = functional.normalize(clip.encode_text(open_clip.get_tokenizer("kintsugi-both")(texts)), dim=-1)
        assert torch.allclose(encoder.encode_text(texts), expected, atol=1e-5)
        vectors = functional.normalize(clip.encode_image(encoder.preprocess(image)), dim=-1)
        assert torch.allclose(encoder.encode_image(image), vectors, atol=1e-5)
    assert encoder.scale == pytest.approx(float(clip.logit_scale.exp()))
    data = ImageSet.from_arrays((image.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8), [0] * 3)
    assert embed(encoder, data).shape == (3, 16)


def test_bad_names():
    for spec in ("open_clip:", "hf:something", "ViT-B-32"):
        with pytest.raises(BadArgument, match="open_clip:ARCH/TAG"):
            open_image_text(spec)
