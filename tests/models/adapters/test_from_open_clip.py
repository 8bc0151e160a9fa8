import json

import pytest
import torch
from torch.nn import functional

from kintsugi.core.errors import BadArgument
from kintsugi.models.encoder import open_encoder
from kintsugi.models.open import open_model

open_clip = pytest.importorskip("open_clip")
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def _tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "kintsugi-tiny.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)


def test_zero_shot_is_open_clips_own(tmp_path):
    clip = open_clip.create_model("kintsugi-tiny").eval()
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    classes, prompts = ("polar_bear", "n01440764"), ("a {}.", "one {} in the snow")
    model = open_model("open_clip:kintsugi-tiny", data_classes=classes, weights=tmp_path / "clip.pt", prompts=prompts)
    tokenizer = open_clip.get_tokenizer("kintsugi-tiny")
    image = torch.rand(3, 3, 32, 32)
    rows = []
    with torch.no_grad():
        for name in ("polar bear", "tench"):
            text = functional.normalize(clip.encode_text(tokenizer([p.format(name) for p in prompts])), dim=-1)
            rows.append(functional.normalize(text.mean(0), dim=0))
        vectors = functional.normalize(clip.encode_image(model.preprocess(image)), dim=-1)
        expected = clip.logit_scale.exp() * vectors @ torch.stack(rows).T
        assert torch.allclose(model(image), expected, atol=1e-4)
        assert torch.allclose(model.features(image), vectors, atol=1e-5)
    assert model.classes == classes


def test_preprocessing_is_the_models():
    model = open_model("open_clip:kintsugi-tiny", data_classes=("a", "b"), weights="random")
    said = open_clip.get_model_preprocess_cfg(open_clip.create_model("kintsugi-tiny"))
    assert model.preprocess.size == said["size"]
    assert model.preprocess.interpolation == said["interpolation"] == "bicubic"
    assert model.preprocess.mean.flatten().tolist() == pytest.approx(said["mean"])


def test_a_teacher_can_be_differentiated():
    model = open_model("open_clip:kintsugi-tiny", data_classes=("a", "b"), weights="random")
    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    model(image)[0, 0].backward()
    assert image.grad.abs().sum() > 0


def test_one_class_of_several_prompts():
    mapping = {"water": ["duck", "gull"], "land": ["wren"]}
    model = open_model("open_clip:kintsugi-tiny", data_classes=("land", "water"), classes=mapping, weights="random")
    assert model.own_classes == ("duck", "gull", "wren")
    assert model.class_index == (1, 1, 0)


def test_as_an_encoder():
    encoder = open_encoder("open_clip:kintsugi-tiny", weights="random")
    with torch.no_grad():
        made = encoder(torch.rand(2, 3, 50, 40))
    assert torch.allclose(made.norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("open_clip:kintsugi-tiny", {}, "--weights FILE"),
        ("open_clip:ViT-B-32/nothing", {}, "laion2b"),
        ("open_clip:ViT-B-33/openai", {}, "ViT-B-32"),
        ("open_clip:kintsugi-tiny", {"weights": "random", "prompts": ["a photo"]}, "prompts"),
    ],
)
def test_bad_names(spec, options, said):
    with pytest.raises(BadArgument, match=said):
        open_model(spec, data_classes=("a", "b"), **options)


def test_class_names_are_needed():
    with pytest.raises(BadArgument, match="zero-shot"):
        open_model("open_clip:kintsugi-tiny", weights="random")
