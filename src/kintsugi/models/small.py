"""Small nets for small images, trained from nothing in minutes or loaded from published checkpoints."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument, require
from kintsugi.models.seeded import seeded

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SmallCNN(nn.Module):
    """Three convolutions with batch normalisation and global average pooling, for images of 14 to 64 pixels.

    Args:
        num_classes: outputs.
        channels: 1 or 3.
        width: maps of the first convolution; the next have twice and four times as many.
        rng: draws the weights; None takes the stream ``weights`` of seed 0.
    """

    spec: ClassVar[str] = "small:cnn"

    def __init__(
        self, num_classes: int, channels: int = 3, width: int = 16, *, rng: torch.Generator | None = None
    ) -> None:
        super().__init__()
        _check(num_classes, channels, width)
        self.options: dict[str, Any] = {"num_classes": num_classes, "channels": channels, "width": width}
        with seeded(rng):
            sizes = (channels, width, 2 * width, 4 * width)
            self.blocks = nn.Sequential(
                *(
                    nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
                    for i, o in pairwise(sizes)
                )
            )
            self.linear = nn.Linear(4 * width, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, channels, H, W]`` to logits ``[B, num_classes]``; H and W at least 4."""
        for number, block in enumerate(self.blocks):
            image = block(image if number == 0 else functional.max_pool2d(image, 2))
        return self.linear(image.mean((2, 3)))


class _Block(nn.Module):
    """Two convolutions around a shortcut without weights, where channels grow by zero padding (He et al., option A)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.stride, self.extra = stride, outer - inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(image)))))
        if self.stride != 1 or self.extra:
            half = self.extra // 2
            image = functional.pad(image[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
        return functional.relu(inner + image)


class CifarResNet(nn.Module):
    """The residual net of 6n+2 layers for 32-pixel images (He et al. 2016, section 4.2).

    Names of the weights are those of the published CIFAR-10 checkpoints (``layer1.0.conv1.weight`` ... ``linear``).

    Args:
        depth: 20, 32, 44, 56 or 110.
        num_classes: outputs.
        channels: 1 or 3.
        width: maps of the first stage.
        rng: draws the weights; None takes the stream ``weights`` of seed 0.
    """

    spec: ClassVar[str] = "small:resnet"

    def __init__(
        self,
        depth: int = 20,
        num_classes: int = 10,
        channels: int = 3,
        width: int = 16,
        *,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(num_classes, channels, width)
        require(depth >= 8 and (depth - 2) % 6 == 0, "depth", depth, "6n + 2, such as 20, 32, 44 or 56")
        self.options: dict[str, Any] = {
            "depth": depth,
            "num_classes": num_classes,
            "channels": channels,
            "width": width,
        }
        with seeded(rng):
            self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            blocks = (depth - 2) // 6
            self.layer1 = self._stage(width, width, 1, blocks)
            self.layer2 = self._stage(width, 2 * width, 2, blocks)
            self.layer3 = self._stage(2 * width, 4 * width, 2, blocks)
            self.linear = nn.Linear(4 * width, num_classes)
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(layer.weight)

    @staticmethod
    def _stage(inner: int, outer: int, stride: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(_Block(inner, outer, stride), *(_Block(outer, outer, 1) for _ in range(blocks - 1)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, channels, H, W]`` to logits ``[B, num_classes]``."""
        image = functional.relu(self.bn1(self.conv1(image)))
        return self.linear(self.layer3(self.layer2(self.layer1(image))).mean((2, 3)))


class LeNet5(nn.Module):
    """LeCun's net for handwritten digits of 28 pixels, padded to 32, with rectifiers and maximum pooling.

    Args:
        num_classes: outputs.
        rng: draws the weights; None takes the stream ``weights`` of seed 0.
    """

    spec: ClassVar[str] = "small:lenet5"

    def __init__(self, num_classes: int = 10, *, rng: torch.Generator | None = None) -> None:
        super().__init__()
        _check(num_classes, 1, 1)
        self.options: dict[str, Any] = {"num_classes": num_classes}
        with seeded(rng):
            self.convnet = nn.ModuleDict(
                {"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5), "c5": nn.Conv2d(16, 120, 5)}
            )
            self.fc = nn.ModuleDict({"f6": nn.Linear(120, 84), "f7": nn.Linear(84, num_classes)})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, 1, 28 or 32, 28 or 32]`` to logits ``[B, num_classes]``."""
        if image.shape[-1] == 28:
            image = functional.pad(image, (2, 2, 2, 2))
        for name in ("c1", "c3"):
            image = functional.max_pool2d(functional.relu(self.convnet[name](image)), 2)
        image = functional.relu(self.convnet["c5"](image)).flatten(1)
        return self.fc["f7"](functional.relu(self.fc["f6"](image)))


def _check(num_classes: int, channels: int, width: int) -> None:
    require(num_classes >= 1, "num_classes", num_classes, "at least 1")
    require(channels in (1, 3), "channels", channels, "1 or 3")
    require(width >= 1, "width", width, "at least 1")


def small_net(name: str, num_classes: int, rng: torch.Generator | None = None, **options: Any) -> nn.Module:
    """The small net called ``cnn``, ``resnet20`` (or another depth) or ``lenet5``.

    Raises:
        BadArgument: no such net, or an option it does not have.
    """
    kind, options = name, {**options, "num_classes": num_classes}
    if name.startswith("resnet"):
        kind = "resnet"
        if name.removeprefix("resnet").isdecimal():
            options["depth"] = int(name.removeprefix("resnet"))
    builders: dict[str, type[nn.Module]] = {"cnn": SmallCNN, "resnet": CifarResNet, "lenet5": LeNet5}
    if kind not in builders:
        raise BadArgument(f"There is no small net {name!r}.", "Known: cnn, resnet20 (32, 44, 56), lenet5.")
    try:
        return builders[kind](**options, rng=rng)
    except TypeError as error:
        raise BadArgument(f"small:{name} does not take these options ({error}).", "See its constructor.") from error
