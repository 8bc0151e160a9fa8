import pytest
import torch

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.models.encoder import open_encoder
from kintsugi.models.open import open_model

timm = pytest.importorskip("timm")
NAME = "test_resnet"  # half a million parameters, made for tests


@pytest.fixture(scope="module")
def plain():
    return open_model(f"timm:{NAME}", weights="random")


def test_preprocessing_and_classes_are_timms(plain):
    config = timm.create_model(NAME).pretrained_cfg
    assert plain.preprocess.size == config["input_size"][1:] == (160, 160)
    assert plain.preprocess.resize == int(160 / config["crop_pct"])
    assert plain.preprocess.interpolation == config["interpolation"]
    assert plain.preprocess.mean.flatten().tolist() == pytest.approx(config["mean"])
    assert len(plain.classes) == 1000
    assert plain.classes[0] == "tench, Tinca tinca"
    assert plain.wnids[0] == "n01440764"


def test_answers_are_timms_on_the_same_input(plain):
    image = torch.rand(2, 3, 200, 240)
    with torch.no_grad():
        assert torch.allclose(plain(image), plain.net(plain.preprocess(image)))
        features = plain.features(image)
        assert torch.allclose(plain.net.get_classifier()(features), plain(image), atol=1e-5)
    assert plain.features(image, at="layer2").shape == (2, plain.net.feature_info[2]["num_chs"])


def test_random_weights_are_seeded_and_leave_the_global_state():
    before = torch.get_rng_state()
    one, two = (open_model(f"timm:{NAME}", weights="random", data_classes=("a", "b"), seed=s) for s in (0, 0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.net.fc.weight, two.net.fc.weight)
    assert one.classes == ("a", "b")
    assert one.net.fc.out_features == 2


def test_local_checkpoint_tells_its_number_of_classes(tmp_path):
    net = timm.create_model(NAME, num_classes=3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "a.pth")
    model = open_model(f"timm:{NAME}", weights=tmp_path / "a.pth", data_classes=("x", "y", "z"))
    assert torch.equal(model.net.fc.weight, net.fc.weight)
    assert model.classes == ("x", "y", "z")
    assert any("order" in note for note in model.notes)
    named = open_model(f"timm:{NAME}", weights=tmp_path / "a.pth", classes=["z", "y", "x"], data_classes=("x", "y"))
    assert named.class_index == (-1, 1, 0)
    with pytest.raises(BadArgument, match="name every output"):
        open_model(f"timm:{NAME}", weights=tmp_path / "a.pth", classes=["x", "y"])
    with pytest.raises(BadCheckpoint, match="do not fit"):
        open_model("timm:resnet18", weights=tmp_path / "a.pth")


def test_wnids_of_the_data_are_found(tmp_path):
    torch.save(timm.create_model(NAME).state_dict(), tmp_path / "a.pth")
    model = open_model(f"timm:{NAME}", weights=tmp_path / "a.pth", data_classes=("n03126707", "n02012849"))
    assert model.class_index[517] == 0
    assert model.class_index[134] == 1


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_transformers_of_timm(name):
    model = open_model(f"timm:{name}", weights="random", data_classes=("a", "b"))
    image = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        features, logits = model.features_and_logits(image)
        assert torch.allclose(model.head()(features), logits, atol=1e-5)
        if name == "test_vit":  # of tokens, the class token
            tokens = model.net.forward_intermediates(
                model.preprocess(image), indices=[1], norm=False, return_prefix_tokens=True, intermediates_only=True
            )
            assert torch.allclose(model.features(image, at="blocks.1"), tokens[0][1][:, 0], atol=1e-5)


def test_hub_out_of_reach_is_said(monkeypatch):
    def create_model(*_, **__):
        raise OSError("[Errno 101] Network is unreachable")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(BadCheckpoint, match=r"timm:test_resnet could not be loaded .*unreachable.*--weights FILE"):
        open_model(f"timm:{NAME}")


def test_unknown_name_offers_near_ones():
    with pytest.raises(BadArgument, match=r"resnet19.*Near: .*resnet18"):
        open_model("timm:resnet19", weights="random")


def test_as_an_encoder():
    encoder = open_encoder(f"timm:{NAME}@layer1", weights="random")
    assert encoder(torch.rand(1, 3, 160, 160)).shape[0] == 1
