import json

import numpy as np
import pytest
import torch

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.data.imageset import ImageSet
from kintsugi.models.base import BlackBox
from kintsugi.models.encoder import open_encoder
from kintsugi.models.open import open_model
from kintsugi.models.predict import predict
from kintsugi.models.preprocess import Preprocess

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def export(path, *, softmax=False, last=False, batch="N", meta=None, channels=3):
    """Average over space, times a matrix."""
    shape = [batch, "H", "W", channels] if last else [batch, channels, "H", "W"]
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y" if not softmax else "z"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [
            numpy_helper.from_array(WEIGHT[:channels], "w"),
            numpy_helper.from_array(np.array([1, 2] if last else [2, 3]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key, value in (meta or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def data():
    image = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    return ImageSet.from_arrays(image, np.zeros(7), ("a", "b", "c", "d"))


def expected(images=None):
    image = (data() if images is None else images).source.image / 255
    return torch.from_numpy(image.mean((1, 2)) @ WEIGHT).softmax(1).numpy()


@pytest.mark.parametrize("options", [{}, {"softmax": True}, {"last": True}, {"batch": 1}, {"batch": 4}])
def test_outputs(tmp_path, options):
    model = open_model(export(tmp_path / "m.onnx", **options), data_classes=data().classes)
    assert isinstance(model, BlackBox)
    assert np.allclose(predict(model, data()).prob, expected(), atol=1e-5)
    assert np.allclose(model.outputs(data()).prob, expected(), atol=1e-5)
    assert not hasattr(model, "features")
    assert any("does not state its preprocessing" in note for note in model.notes)


def test_metadata_is_taken(tmp_path):
    said = Preprocess((0.5,) * 3, (0.25,) * 3, bgr=True)
    meta = {"kintsugi.preprocess": json.dumps(said.as_dict()), "kintsugi.classes": json.dumps(["d", "c", "b", "a"])}
    model = open_model(export(tmp_path / "m.onnx", meta=meta), data_classes=data().classes)
    image = torch.rand(2, 3, 8, 8)
    by_hand = torch.from_numpy(((image.flip(1).mean((2, 3)) - 0.5) / 0.25).numpy() @ WEIGHT)
    assert torch.allclose(model(image), by_hand.flip(1), atol=1e-4)
    assert not model.notes


def test_names_of_another_exporter_and_numbers_as_classes(tmp_path):
    model = open_model(export(tmp_path / "m.onnx", meta={"names": "{0: 'w', 1: 'x', 2: 'y', 3: 'z'}"}))
    assert model.classes == ("w", "x", "y", "z")
    assert open_model(export(tmp_path / "m.onnx", meta={"names": "__import__('os')"})).classes == ("0", "1", "2", "3")


def test_the_processor_beside_the_file_is_taken(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = open_model(export(tmp_path / "m.onnx"))
    assert model.preprocess.size == (32, 32)
    assert model.preprocess.mean.flatten().tolist() == [0.5] * 3


def test_a_grey_graph_takes_colour(tmp_path):
    model = open_model(export(tmp_path / "m.onnx", channels=1))
    assert model(torch.rand(2, 3, 5, 5)).shape == (2, 4)


def test_classes_are_mapped(tmp_path):
    model = open_model(export(tmp_path / "m.onnx"), classes=["a", "b", "c", "d"], data_classes=("d", "b"))
    image = torch.rand(3, 3, 8, 8)
    whole = open_model(tmp_path / "m.onnx")(image)
    assert torch.equal(model(image), whole[:, [3, 1]])


def test_what_is_not_a_classifier_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match=r"a\.onnx"):
        open_model(tmp_path / "a.onnx")
    with pytest.raises(BadCheckpoint, match="not a file"):
        open_model(tmp_path / "no.onnx")
    with pytest.raises(BadArgument, match="2 class names for the 4 outputs"):
        open_model(export(tmp_path / "m.onnx"), classes=["a", "b"])
    with pytest.raises(BadArgument, match="no features"):
        predict(open_model(tmp_path / "m.onnx", data_classes=data().classes), data(), features=True)
    with pytest.raises(BadArgument, match="no features"):
        open_encoder(str(tmp_path / "m.onnx"))
