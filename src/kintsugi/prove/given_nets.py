"""Nets whose weights lie in the folder KINTSUGI_DATA, as encoders for trials."""

from __future__ import annotations

from typing import Any

from kintsugi.data.given import given_file

RESNET20 = "cifar10_resnet20_akamaster_state_dict.pth"
MOBILENET = "imagenet_mobilenet_v2_torchvision_tfpad_weights.npz"


def resnet20(at: str | None = None, places: int = 1) -> Any:
    """ResNet-20 trained on CIFAR-10: what a layer puts out, by default the input of the last one.

    Args:
        at: the layer.
        places: its maps are averaged within ``places`` x ``places`` cells.
    """
    from kintsugi.models.encoder import ModelEncoder
    from kintsugi.models.open import open_model
    from kintsugi.models.preprocess import Preprocess
    from kintsugi.models.small import IMAGENET_MEAN, IMAGENET_STD

    own = Preprocess(IMAGENET_MEAN, IMAGENET_STD)
    model: Any = open_model(
        "small:resnet", classes=[str(k) for k in range(10)], weights=given_file(RESNET20), preprocess=own
    )
    return ModelEncoder(model, at, places=places).eval()


def mobilenet() -> Any:
    """MobileNetV2 with TensorFlow's padding (one row and column behind where the stride is 2), as its weights need."""
    from torch import nn
    from torch.nn import functional

    from kintsugi.models.encoder import ModelEncoder
    from kintsugi.models.open import open_model
    from kintsugi.models.preprocess import Preprocess

    own = Preprocess((0.5,) * 3, (0.5,) * 3, (224, 224), resize=256)
    model: Any = open_model("torchvision:mobilenet_v2", weights=given_file(MOBILENET), preprocess=own)

    def padded(layer: Any, given: Any) -> Any:
        return (functional.pad(given[0], (0, 1, 0, 1)),)

    for layer in model.net.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(padded)
    return ModelEncoder(model).eval()
