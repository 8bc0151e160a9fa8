import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.data.imageset import ImageSet
from kintsugi.data.source import BadImage
from kintsugi.models.base import TorchModel
from kintsugi.models.predict import chance_warning, predict, seen_in_training
from kintsugi.models.preprocess import Preprocess
from kintsugi.models.small import SmallCNN


def data(count=30, side=16):
    image = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageSet.from_arrays(image, np.arange(count) % 3, ("a", "b", "c"))


def model():
    return TorchModel(SmallCNN(3, width=4), ("a", "b", "c"), Preprocess((0.5,) * 3, (0.5,) * 3))


def test_rows_are_the_softmax_of_each_image():
    made, images = model(), data()
    outputs = predict(made, images, batch_size=7, features=True, held_out=True)
    assert outputs.id == images.ids
    assert outputs.held_out is True
    for row in (0, 13, 29):
        image = torch.from_numpy(images[row].image.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            features, logits = made.eval().features_and_logits(image)
        assert np.allclose(outputs.prob[row], logits.softmax(1), atol=1e-5)
        assert np.allclose(outputs.features[row], features, atol=1e-5)


def test_modes_and_weights_are_as_before():
    made = model().train()
    made.net.blocks[0].eval()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    predict(made, data())
    assert made.training
    assert made.net.blocks[1].training
    assert not made.net.blocks[0].training
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


class Torn:
    fingerprint = "torn"

    def __init__(self, sizes):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def read(self, row):
        if self.sizes[row] is None:
            raise BadImage(f"{row}.png", "truncated")
        return np.full((*self.sizes[row], 3), 40 * row, dtype=np.uint8)


def torn(*sizes):
    import pyarrow as pa

    ids = [f"{k}.png" for k in range(len(sizes))]
    return ImageSet(Torn(sizes), pa.table({"id": ids, "label": [0] * len(sizes)}), ("a", "b", "c"))


def test_mixed_sizes_are_scaled_and_bad_images_left_out():
    images = torn((16, 16), None, (40, 20), (1, 1))
    made = TorchModel(SmallCNN(3, width=4), ("a", "b", "c"), Preprocess((0.5,) * 3, (0.5,) * 3, (16, 16)))
    outputs = predict(made, images, batch_size=3)
    assert outputs.id == ["0.png", "2.png", "3.png"]
    assert [problem.id for problem in images.problems] == ["1.png"]


def test_nothing_readable_is_an_error():
    with pytest.raises(BadData, match="None of the 2 images"):
        predict(model(), torn(None, None))


def test_other_classes_are_refused():
    with pytest.raises(BadArgument, match="data has 3"):
        predict(TorchModel(SmallCNN(2), ("a", "b")), data())


def test_nan_outputs_are_named():
    class Broken(nn.Module):
        def forward(self, image):
            return image.mean((2, 3)) * torch.nan

    with pytest.raises(BadData, match="not finite for 30 samples"):
        predict(TorchModel(Broken(), ("a", "b", "c")), data())


def outputs(predicted, count, sure=0.9, held_out=None):
    prob = np.full((len(predicted), count), (1 - sure) / (count - 1))
    prob[np.arange(len(predicted)), predicted] = sure
    return Outputs([str(k) for k in range(len(predicted))], prob, held_out=held_out)


def test_chance_is_told_from_skill():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    assert "samples no better than chance" in chance_warning(outputs(rng.integers(0, 4, 400), 4), labels)
    assert "samples no better than chance" in chance_warning(
        outputs(np.zeros(400, int), 4), (rng.random(400) < 0.1).astype(int)
    )
    half = np.where(rng.random(400) < 0.4, labels, rng.integers(0, 4, 400))
    assert chance_warning(outputs(half, 4), labels) is None
    assert chance_warning(outputs(labels[:10], 4), labels[:10]) is None
    assert chance_warning(outputs(labels, 4), np.full(400, -1)) is None


def test_another_order_of_classes_is_named():
    labels = np.random.default_rng(0).integers(0, 3, 200)
    said = chance_warning(outputs((labels + 1) % 3, 3), labels, ("cat", "dog", "bird"))
    assert "In another order" in said
    assert any(
        f"calls {a} is mostly labelled {b}" in said for a, b in (("dog", "cat"), ("bird", "dog"), ("cat", "bird"))
    )


def test_false_alarms_are_as_rare_as_stated():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (300, 100))
    silent = sum(chance_warning(outputs(rng.integers(0, 2, 100), 2), each) is None for each in labels)
    assert silent <= 9  # 1% of 300 is 3


def test_seen_samples_are_suspected():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    split = np.array(["train"] * 200 + ["test"] * 200)
    fitted = labels.copy()
    fitted[200:] = np.where(rng.random(200) < 0.6, labels[200:], rng.integers(0, 4, 200))
    assert seen_in_training(outputs(fitted, 4), labels, split)[0] is True
    fair = np.where(rng.random(400) < 0.6, labels, rng.integers(0, 4, 400))
    answer, why = seen_in_training(outputs(fair, 4), labels, split)
    assert answer is None
    assert "no proof" in why
    assert seen_in_training(outputs(fair, 4), labels, "test")[0] is False
    assert seen_in_training(outputs(fair, 4), labels)[0] is None
    assert seen_in_training(outputs(labels, 4, 0.999), labels)[0] is True
    assert seen_in_training(outputs(labels, 4, held_out=True), labels, "train") == (False, "as stated with the outputs")
