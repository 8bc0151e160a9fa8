"""The surest wanted box counts; detectors are the libraries' own, random and local."""

import pytest
import torch

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.core.kinds import ContentDetector
from kintsugi.models.base import TorchModel
from kintsugi.models.detectors import BoxDetector, ClassDetector, open_detector
from kintsugi.models.small import small_net


def test_the_surest_wanted_box_is_the_answer():
    def boxes(image):
        assert image.shape == (3, 3, 4, 4)  # grey images are widened
        return [
            (torch.tensor([0.9, 0.4, 0.6]), torch.tensor([1, 2, 3])),
            (torch.tensor([0.9]), torch.tensor([1])),
            (torch.zeros(0), torch.zeros(0, dtype=torch.long)),
        ]

    detector = BoxDetector(torch.nn.Linear(3, 2), boxes, [3, 2], "boxes")
    assert isinstance(detector, ContentDetector)
    assert detector.cost == 8.0
    assert detector.score(torch.rand(3, 1, 4, 4)).tolist() == pytest.approx([0.6, 0.0, 0.0])


def test_a_classifier_sums_its_classes():
    model = TorchModel(small_net("cnn", 4, width=2).eval(), ["cat", "dog", "face", "person"])
    detector = ClassDetector(model, ["person", "face"])
    image = torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(detector.score(image), model(image).double().softmax(1)[:, 2:].sum(1))
    assert detector.cost == sum(p.numel() for p in model.parameters())
    assert ClassDetector(model, ["cat"], cost=1.5).cost == 1.5
    with pytest.raises(BadArgument, match="'cow'"):
        ClassDetector(model, ["cow"])
    with pytest.raises(BadArgument, match="wanted"):
        ClassDetector(model, "cat")


def test_torchvisions_detectors_by_name(tmp_path):
    kinds = ["background", "face", "plate"]
    spec = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"
    detector = open_detector(spec, ["plate"], weights="random", kinds=kinds)
    image = torch.rand(2, 3, 48, 40)
    found = detector.score(image)
    with torch.no_grad():
        expected = [
            max([float(p) for p, k in zip(each["scores"], each["labels"], strict=True) if k == 2], default=0.0)
            for each in detector.net.eval()(list(image))
        ]
    assert found.tolist() == pytest.approx(expected)
    assert max(expected) > 0  # random weights see something, so the comparison says something
    torch.save(detector.net.state_dict(), tmp_path / "own.pt")
    again = open_detector(spec, ["plate"], weights=tmp_path / "own.pt", kinds=kinds, seed=5)
    assert torch.equal(again.score(image), found)
    with pytest.raises(BadArgument, match="'person'"):
        open_detector(spec, ["person"], weights="random", kinds=kinds)


def test_detectors_of_transformers_by_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.YolosConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=[32, 32],
        patch_size=8, num_detection_tokens=6, id2label={0: "face", 1: "plate", 2: "dog"},
    )  # fmt: skip
    net = transformers.YolosForObjectDetection(config).eval()
    processor = transformers.YolosImageProcessor(size={"height": 32, "width": 32}, do_pad=False)
    net.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    detector = open_detector(f"hf:{tmp_path}", ["face", "dog"])
    image = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        given = processor(images=[*(image * 255).round().byte()], return_tensors="pt")
        prob = net(pixel_values=given["pixel_values"]).logits.softmax(-1)[..., :-1]  # the last kind is: nothing
    best, kind = prob.max(-1)
    expected = torch.where((kind == 0) | (kind == 2), best, 0.0).amax(1)
    assert torch.allclose(detector.score(image), expected, atol=1e-5)


def test_bad_names(tmp_path):
    with pytest.raises(BadArgument, match="torchvision:NAME"):
        open_detector("yolo", ["person"])
    with pytest.raises(BadArgument, match="fasterrcnn"):
        open_detector("torchvision:fasterrcnn", ["person"])
    with pytest.raises(BadArgument, match="weights"):
        open_detector("hf:somewhere", ["person"], weights="random")
    pytest.importorskip("transformers")
    with pytest.raises(BadCheckpoint, match="could not be loaded"):
        open_detector(f"hf:{tmp_path / 'none'}", ["person"])
