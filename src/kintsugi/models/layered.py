"""Four looks at an image in one vector: its sharpness, its colours, the middle of a net, and what the encoder says.

Images of another source mostly differ in what the last layer of a net was trained to ignore: how fine their detail is,
how colourful they are, what their surfaces are like. So the vector has, in this order,

1. sharpness, 4 numbers, and 2. colour, 12 numbers, from power spectra at 224 x 224 (short side to 256, centre cut out).
   Brightness (R + G + B) / 3 and the opponent colours R - G and (R + G) / 2 - B, less their mean, are multiplied by a
   Hann window; their squared Fourier transforms are averaged over six octaves of frequency, 1/2 to 1/128 cycle a pixel.
   Sharpness is how much the log power of brightness falls from octave to octave, in the five finest: the slope of the
   spectrum, which is much alike in photographs, and its kinks, as scaling up leaves them, whatever the contrast.
   Colour is the log of each opponent colour's power over that of brightness;
3. mean and standard deviation over the places (or tokens) of every channel of three layers, a quarter, a third and
   nearly half of the way through the net, as its layers with weights are counted. A layer is the largest module that
   holds at most an eighth of them, mostly a block;
4. the encoder's own vector.

All that was fixed with MobileNetV2 on Tiny-ImageNet, CIFAR-10, Fashion-MNIST, MNIST and web pictures (see the check
off_topic, which these looks are for). On those, wavelets in place of the spectra found images scaled up less well.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from kintsugi.core.errors import require
from kintsugi.models.preprocess import Preprocess

DEPTHS = (0.25, 0.35, 0.45)
BLOCK = 0.125
SIDE, SHORT = 224, 256
OCTAVES, FINE = 6, 5  # of frequency, and those of them that sharpness is of
FLOOR = 1e-7  # of a mean power; rounding to 256 steps alone has 1.3e-6


class LayeredEncoder(nn.Module):
    """An encoder's vector behind moments of its middle layers and the image's sharpness and colour.

    Args:
        encoder: any encoder; layers are looked for in it if it is a torch module.
        depths: where the middle layers are, as shares of the way through.
        channels: channels a layer gives at most; of more, so many at even steps.

    Attributes:
        widths: how many numbers each look has, once something was encoded.
        preprocess: the encoder's.
    """

    def __init__(self, encoder: Any, *, depths: Sequence[float] = DEPTHS, channels: int = 128) -> None:
        super().__init__()
        require(all(0 < depth <= 1 for depth in depths), "depths", depths, "shares above 0, to 1")
        require(channels >= 1, "channels", channels, "at least 1 channel")
        self.encoder, self.depths, self.channels = encoder, tuple(depths), channels
        self.layers = middle(encoder, self.depths) if isinstance(encoder, nn.Module) else ()
        self.name = f"sharpness, colour, middle layers and vectors of {encoder.name}"
        self.preprocess = getattr(encoder, "preprocess", None)
        self.widths: tuple[int, ...] | None = None
        self._look = Preprocess((0.0,) * 3, (1.0,) * 3, (SIDE, SIDE), resize=SHORT)

    @property
    def fingerprint(self) -> str:
        """The encoder's, with layers and settings."""
        facts = (self.encoder.fingerprint, self.layers, self.channels, SIDE, SHORT, OCTAVES, FINE)
        return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to ``[B, sum(widths)]``."""
        caught: dict[str, torch.Tensor] = {}
        with contextlib.ExitStack() as stack:
            held = dict(self.encoder.named_modules()) if self.layers else {}
            for name in self.layers:

                def keep(_: nn.Module, __: Any, made: Any, name: str = name) -> None:
                    # At once, since what follows may write into the same memory.
                    caught[name] = self._moments(made if isinstance(made, torch.Tensor) else made[0], len(image))

                stack.callback(held[name].register_forward_hook(keep).remove)
            own = self.encoder(image).flatten(1)
        # A layer that is there and does not run, such as a second head, is left out.
        inner = [caught[name] for name in self.layers if name in caught]
        looks = [*sharpness_and_colour(self._look(image)), torch.cat(inner, 1) if inner else own[:, :0], own]
        self.widths = tuple(look.shape[1] for look in looks)
        return torch.cat([look.to(own.dtype) for look in looks], 1)

    def _moments(self, value: torch.Tensor, count: int) -> torch.Tensor:
        if value.ndim == 4:  # maps, with channels behind where a net says so
            last = any(getattr(module, "output_fmt", None) == "NHWC" for module in self.encoder.modules())
            value = value.flatten(1, 2) if last else value.flatten(2).mT
        elif value.ndim == 3 and value.shape[0] != count:  # tokens first
            value = value.transpose(0, 1)
        elif value.ndim == 2:
            value = value[:, None]
        total = value.shape[-1]
        if total > self.channels:
            value = value[..., torch.arange(self.channels, device=value.device) * total // self.channels]
        return torch.cat([value.mean(1), value.std(1, correction=0)], 1)


def middle(net: nn.Module, depths: Sequence[float] = DEPTHS) -> tuple[str, ...]:
    """Names of the modules that end nearest to those shares of the way through ``net``, in order, each once.

    The way is counted in modules that hold a matrix or a kernel themselves, in the order in which they were defined.
    """
    leaves = [name for name, module in net.named_modules() if _matrix(module)]
    if not leaves:
        return ()
    blocks, seen = [], ""
    for name, _ in net.named_modules():  # outer ones come first
        inside = [row for row, leaf in enumerate(leaves) if leaf == name or leaf.startswith(f"{name}.") or not name]
        if inside and len(inside) <= max(1, BLOCK * len(leaves)) and not (seen and name.startswith(f"{seen}.")):
            blocks.append((inside[-1] + 1, name))
            seen = name
    found = [min(blocks, key=lambda block: abs(block[0] - depth * len(leaves))) for depth in depths]
    return tuple(name for _, name in sorted(set(found)))


def _matrix(module: nn.Module) -> bool:
    return any(weight.ndim >= 2 for weight in module.parameters(recurse=False))


def sharpness_and_colour(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slopes of the spectrum of brightness ``[B, 4]``, and colour by octave ``[B, 12]``.

    Args:
        image: ``[B, 3, S, S]`` in 0..1; S is 128 at least.
    """
    power = octave_power(image)
    return power[:, 0, :FINE].diff(dim=1), (power[:, 1:] - power[:, :1]).flatten(1)


def octave_power(image: torch.Tensor) -> torch.Tensor:
    """Log of mean power, ``[B, 3, OCTAVES]``: brightness and two opponent colours, the finest octave first."""
    red, green, blue = image.unbind(1)
    value = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)
    side = value.shape[-1]
    window = torch.hann_window(side, periodic=False, dtype=value.dtype, device=value.device)
    window = window[:, None] * window
    value = (value - (value * window).sum((2, 3), keepdim=True) / window.sum()) * window
    power = torch.fft.rfft2(value).abs() ** 2 / (window**2).sum()
    down, right = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    octave = torch.floor(-1 - torch.log2(torch.hypot(down[:, None], right[None]).clamp_min(1e-9))).to(value.device)
    # A term beyond the first column stands for its mirror image as well, but that hardly changes a mean.
    return torch.stack([torch.log(power[..., octave == k].mean(-1) + FLOOR) for k in range(OCTAVES)], 2)
