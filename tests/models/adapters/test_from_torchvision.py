import csv
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.data.imageset import ImageSet
from kintsugi.models.open import open_model
from kintsugi.models.predict import predict
from kintsugi.models.preprocess import Preprocess


def test_preprocessing_is_that_of_the_weights():
    model = open_model("torchvision:squeezenet1_1", weights="random")
    transform = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.transforms()
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(9, 0).repeat(9, 1)
    theirs = transform(Image.fromarray(image))
    ours = model.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0]
    assert (ours - theirs).abs().max() < 0.02
    assert model.classes[0] == "tench"
    assert model.features(torch.rand(1, 3, 224, 224)).shape == (1, 512)


def test_local_checkpoint(tmp_path):
    net = torchvision.models.mnasnet0_5(num_classes=2)
    torch.save(net.state_dict(), tmp_path / "a.pth")
    model = open_model("torchvision:mnasnet0_5", weights=tmp_path / "a.pth", data_classes=("a", "b"))
    image = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        assert torch.allclose(model(image), net.eval()(model.preprocess(image)), atol=1e-5)
    assert any("does not state its preprocessing" in note for note in model.notes)


def test_names_and_weights_are_checked(monkeypatch):
    with pytest.raises(BadArgument, match="resnet18"):
        open_model("torchvision:resnet19")
    with pytest.raises(BadArgument, match="IMAGENET1K_V1"):
        open_model("torchvision:resnet18/V9")
    with pytest.raises(BadArgument, match="no classifier"):
        open_model("torchvision:fasterrcnn_resnet50_fpn")

    def no_network(*_, **__):
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", no_network)
    with pytest.raises(BadCheckpoint, match=r"squeezenet1_1 could not be loaded .*--weights FILE"):
        open_model("torchvision:squeezenet1_1")


@pytest.mark.data
@pytest.mark.slow
def test_imagenet_photographs():
    folder = os.environ["KINTSUGI_DATA"]
    with zipfile.ZipFile(Path(folder) / "imagenet_photos_500_short256.zip") as packed:
        rows = list(csv.DictReader(io.StringIO(packed.read("labels.csv").decode())))
        images = [np.asarray(Image.open(io.BytesIO(packed.read(row["file"]))).convert("RGB")) for row in rows]
    cut = [image[(s := image.shape)[0] // 2 - 128 :, s[1] // 2 - 128 :][:256, :256] for image in images]
    wnids = sorted({row["wnid"] for row in rows})
    data = ImageSet.from_arrays(np.stack(cut), [wnids.index(row["wnid"]) for row in rows], wnids)
    file = Path(folder) / "imagenet_squeezenet1_1_torchvision_weights.npz"
    own = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (227, 227), resize=256)
    whole = open_model("torchvision:squeezenet1_1", weights=file, preprocess=own)
    # All 1000 outputs compete: 61.4% is stated for the 500 photographs.
    names = [whole.classes[int(row["class_index"])] for row in rows]
    everything = ImageSet.from_arrays(np.stack(cut), [whole.classes.index(name) for name in names], whole.classes)
    assert (predict(whole, everything).predicted == everything.labels).mean() == pytest.approx(0.614, abs=0.005)
    # Only the 500 that occur, by WordNet id: as many or more are right.
    mapped = open_model("torchvision:squeezenet1_1", weights=file, preprocess=own, data_classes=wnids)
    some = data.select(range(0, 500, 5))
    assert (predict(mapped, some).predicted == some.labels).mean() > 0.6
