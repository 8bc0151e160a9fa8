import json

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.models.open import open_model

transformers = pytest.importorskip("transformers")
LABELS = {0: "cat", 1: "dog", 2: "polar bear"}


def config(labels=LABELS):
    return transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label=labels,
        label2id={name: k for k, name in labels.items()},
    )


def save(folder, processor=None, labels=LABELS):
    model = transformers.ViTForImageClassification(config(labels)).eval()
    model.save_pretrained(folder)
    processor = processor or transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return model


def test_answers_are_those_of_the_pipeline(tmp_path):
    theirs = save(tmp_path)
    model = open_model(f"hf:{tmp_path}", data_classes=("Dog", "polar_bear", "cat"))
    image = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(**processor(images=Image.fromarray(image), return_tensors="pt")).logits[0, [1, 2, 0]]
        made = model(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0]
    assert torch.allclose(made, expected, atol=0.01)
    assert model.features(torch.rand(2, 3, 32, 32)).shape == (2, 16)
    assert model.features(torch.rand(2, 3, 32, 32), at="vit.layers.0").shape == (2, 16)
    assert model.head().out_features == 3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViTImageProcessor", {"do_normalize": False}),
        ("ViTImageProcessor", {"do_rescale": False, "image_mean": [120.0] * 3, "image_std": [60.0] * 3}),
        ("ViTImageProcessor", {"resample": 3, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}),
        ("LevitImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
        ("BitImageProcessor", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
        ("EfficientNetImageProcessor", {"size": {"height": 32, "width": 32}, "include_top": False}),
    ],
)
def test_processors_are_reproduced(name, options):
    # `_preprocess` compares with the processor itself and raises where they differ.
    from kintsugi.models.adapters.from_transformers import _preprocess

    made = _preprocess(getattr(transformers, name)(**options), name)
    assert made.bgr == (name == "MobileViTImageProcessor")
    if options.get("do_rescale") is False:
        assert made.value_range == (0.0, 255.0)


def test_a_processor_that_does_more_is_refused():
    from kintsugi.models.adapters.from_transformers import _preprocess

    odd = transformers.EfficientNetImageProcessor(size={"height": 32, "width": 32}, include_top=True)
    with pytest.raises(BadCheckpoint, match="could not be reproduced"):
        _preprocess(odd, "odd")


def test_a_range_that_contradicts_the_mean_is_refused(tmp_path):
    save(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file = file if file.exists() else tmp_path / "processor_config.json"
    said = json.loads(file.read_text())
    said.update(image_mean=[123.0] * 3, image_std=[58.0] * 3)
    file.write_text(json.dumps(said))
    with pytest.raises(BadArgument, match="value_range"):
        open_model(f"hf:{tmp_path}")


def test_unnamed_labels_and_random_weights(tmp_path):
    save(tmp_path, labels={0: "LABEL_0", 1: "LABEL_1"})
    model = open_model(f"hf:{tmp_path}", data_classes=("a", "b"))
    assert any("order" in note for note in model.notes)
    fresh = open_model(f"hf:{tmp_path}", weights="random", data_classes=("a", "b", "c", "d"))
    assert fresh.head().out_features == 4


def test_a_backbone_without_classifier_is_refused(tmp_path):
    save(tmp_path)
    transformers.ViTModel(config()).save_pretrained(tmp_path)
    with pytest.raises(BadCheckpoint, match=r"lacks .* classifier"):
        open_model(f"hf:{tmp_path}")


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(BadCheckpoint, match="--weights FILE"):
        open_model(f"hf:{tmp_path / 'none'}")
    save(tmp_path)
    with pytest.raises(BadCheckpoint, match="hf:"):
        open_model(tmp_path)
