"""`Preprocess`: resizing, colour order and normalisation, inside the model, so that attacks and guidance go through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument, BadData, one_of, require

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

CROPS = ("center", "squash", "pad")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
_FITS = {"center": "crop", "squash": "squash", "pad": "pad"}  # what `ImageSet.stream` calls them


class Preprocess(nn.Module):
    """From an image in 0..1 to what a net was trained on. Differentiable.

    Args:
        mean: one number a channel of the net, in ``value_range``, in the net's channel order.
        std: likewise, above 0.
        size: (height, width) the net takes; None accepts images as they are.
        resize: what the image is scaled to before ``size`` is cut from its centre: the short side (an int), or
            (height, width); None scales just enough to fill ``size``.
        crop: ``center`` keeps the shape and cuts, ``squash`` ignores the shape, ``pad`` fits inside black.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``, the latter two with antialiasing, as Pillow does it.
        bgr: whether the net takes blue first.
        value_range: what 0..1 is stretched to before normalisation, such as (0, 255).

    Raises:
        BadArgument: lengths differ, ``std`` is not positive, or ``mean`` lies outside ``value_range``, the sign
            that a checkpoint expects another range than stated.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        size: tuple[int, int] | None = None,
        resize: int | tuple[int, int] | None = None,
        crop: str = "center",
        interpolation: str = "bilinear",
        bgr: bool = False,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        mean, std = [float(value) for value in mean], [float(value) for value in std]
        low, high = (float(value) for value in value_range)
        one_of("crop", crop, CROPS)
        one_of("interpolation", interpolation, INTERPOLATIONS)
        require(len(mean) in (1, 3), "mean", mean, "one number a channel, for 1 or 3 channels")
        require(len(std) == len(mean), "std", std, f"{len(mean)} numbers, as many as in mean")
        require(min(std) > 0, "std", std, "numbers above 0")
        require(low < high, "value_range", value_range, "(low, high) with low below high")
        if not all(low <= value <= high for value in mean):
            raise BadArgument(
                f"mean={mean} lies outside value_range={value_range}:",
                "state the range the net was trained on, such as value_range=(0, 255).",
            )
        require(not bgr or len(mean) == 3, "bgr", bgr, "False for a net of one channel")
        for name, value in (("size", size), ("resize", resize)):
            sides = () if value is None else (value,) if isinstance(value, int) else tuple(value)
            require(all(side >= 1 for side in sides), name, value, "sides of at least 1 pixel")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.resize = resize if resize is None or isinstance(resize, int) else (int(resize[0]), int(resize[1]))
        self.crop, self.interpolation, self.bgr, self.value_range = crop, interpolation, bool(bgr), (low, high)
        # Not in the state dict: a checkpoint's keys are the net's own, and the configuration travels as JSON.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def channels(self) -> int:
        """Channels the net takes, 1 or 3."""
        return int(self.mean.shape[1])

    @property
    def decode(self) -> tuple[tuple[int, int] | None, str]:
        """Size and fit with which photographs of mixed sizes are decoded, so that :meth:`forward` only has to cut."""
        if self.size is None:
            return None, _FITS[self.crop]
        if isinstance(self.resize, tuple):
            return self.resize, "squash"
        if self.crop == "pad" or self.resize is None:
            return self.size, _FITS[self.crop]
        return (max(self.resize, self.size[0]), max(self.resize, self.size[1])), _FITS[self.crop]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images float ``[B, 1 or 3, H, W]`` in 0..1 to the net's input ``[B, channels, *size]``, same dtype.

        Raises:
            BadData: another shape, or whole numbers instead of 0..1.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point():
            raise BadData(
                f"image has dtype {image.dtype} and shape {tuple(image.shape)}:",
                "give float [B, C, H, W] in 0..1 with C 1 or 3.",
            )
        image = self._channelled(image)
        if self.size is not None:
            image = self._fitted(image, self.size)
        if self.bgr:
            image = image.flip(1)
        low, high = self.value_range
        image = image * (high - low) + low
        return (image - self.mean.to(image.dtype)) / self.std.to(image.dtype)

    def _channelled(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[1] == self.channels:
            return image
        if self.channels == 3:
            return image.expand(-1, 3, -1, -1)
        luma = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601, as Pillow's "L"
        return (image * luma).sum(1, keepdim=True)

    def _fitted(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        height, width = image.shape[-2:]
        if isinstance(self.resize, tuple):
            inner = self.resize
        elif self.crop == "squash":
            inner = size if self.resize is None else (self.resize, self.resize)
        elif self.crop == "pad":
            scale = min(size[0] / height, size[1] / width)
            inner = (max(1, round(height * scale)), max(1, round(width * scale)))
        elif self.resize is None:
            scale = max(size[0] / height, size[1] / width)
            inner = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
        else:  # the short side becomes `resize`, the long one is rounded down, as torchvision and timm do it
            short = min(height, width)
            inner = (self.resize * height // short, self.resize * width // short)
        if inner != (height, width):
            if self.interpolation == "nearest":
                image = functional.interpolate(image, inner, mode="nearest-exact")
            else:
                image = functional.interpolate(image, inner, mode=self.interpolation, antialias=True)
            if self.interpolation == "bicubic":  # overshoots at edges, where an 8-bit image is clipped
                image = image.clamp(0.0, 1.0)
        return _centre(image, size)

    def as_dict(self) -> dict[str, Any]:
        """The whole configuration as plain data; :meth:`from_dict` reads it."""
        return {
            "mean": [round(value, 6) for value in self.mean.flatten().tolist()],
            "std": [round(value, 6) for value in self.std.flatten().tolist()],
            "size": self.size and list(self.size),
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "bgr": self.bgr,
            "value_range": list(self.value_range),
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Preprocess:
        """The inverse of :meth:`as_dict`."""
        made: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in config.items()}
        return cls(**made)

    def extra_repr(self) -> str:
        """The configuration, for ``print(model)``."""
        return ", ".join(f"{key}={value}" for key, value in self.as_dict().items())


def decoding(
    model: Any, data: ImageSet, size: tuple[int, int] | None = None, fit: str = "crop"
) -> tuple[tuple[int, int] | None, str]:
    """Size and fit with which a data set is decoded for a model: as asked for, or what its preprocessing scales to.

    Images held in memory at one size go in as they are: the model does all scaling itself, which is exact and
    differentiable.

    Args:
        model: anything; what states no ``preprocess`` leaves the images as they are.
        data: the image set.
        size: (height, width) somebody asked for.
        fit: likewise.
    """
    preprocess = getattr(model, "preprocess", None)
    if size is not None or preprocess is None or getattr(data.source, "gather", None) is not None:
        return size, fit
    wanted: tuple[tuple[int, int] | None, str] = preprocess.decode
    return wanted


def _centre(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The centre of ``size``; what is missing is black."""
    height, width = image.shape[-2:]
    down, right = max(0, size[0] - height), max(0, size[1] - width)
    if down or right:
        image = functional.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))
        height, width = image.shape[-2:]
    # Half a pixel is rounded to even, as torchvision's centre crop does it.
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return image[..., top : top + size[0], left : left + size[1]]
