"""A small class-conditional U-Net of magnitude-preserving layers, about half a million parameters at 24 pixels.

Karras et al. (2023), arXiv 2312.02696, configuration G, shrunk: pixels are first folded into channels by ``patch``,
and levels have as few as one block. Dropout is left out: sets this small are trained for too few steps to need it.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from kintsugi.generate.diffusion.mp import MPConv, MPFourier, mp_cat, mp_silu, mp_sum, normalize

RESIDUAL = 0.3  # share of the residual and attention branches in their sums
CLIP = 256.0  # activations beyond it are cut


class Attention(nn.Module):
    """Cosine self-attention over pixels: queries, keys and values of unit length scale."""

    def __init__(self, width: int, heads: int, rng: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = MPConv(width, 3 * width, 1, rng)
        self.out = MPConv(width, width, 1, rng)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to the same shape."""
        b, c, h, w = x.shape
        qkv = self.qkv(x).reshape(b, self.heads, c // self.heads, 3, h * w)
        q, k, v = normalize(qkv, dims=(2,)).permute(3, 0, 1, 4, 2)
        y = functional.scaled_dot_product_attention(q, k, v)  # logits are divided by sqrt(channels of a head)
        return mp_sum(x, self.out(y.transpose(2, 3).reshape(b, c, h, w)), RESIDUAL)


class Block(nn.Module):
    """A residual block, modulated by the embedding; the encoder's normalises pixels, the decoder's does not."""

    def __init__(
        self, cin: int, cout: int, embedding: int, *, decoder: bool, heads: int, resample: str, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.decoder, self.resample = decoder, resample
        self.skip = MPConv(cin, cout, 1, rng) if cin != cout else nn.Identity()
        self.conv0 = MPConv(cin if decoder else cout, cout, 3, rng)
        self.modulate = MPConv(embedding, cout, 0, rng)
        self.gain = nn.Parameter(torch.zeros(()))
        self.conv1 = MPConv(cout, cout, 3, rng)
        self.attention = Attention(cout, heads, rng) if heads else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor, side: torch.Tensor | None = None) -> torch.Tensor:
        """Resample, join the encoder's ``side`` output, then convolve twice beside the skip path."""
        if self.resample == "down":
            x = functional.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        if side is not None:
            x = mp_cat(x, side)
        if not self.decoder:
            x = normalize(self.skip(x), dims=(1,))
        y = self.conv0(mp_silu(x))
        y = mp_silu(y * (1 + self.modulate(embedding, self.gain))[:, :, None, None])
        y = self.conv1(y)
        if self.decoder:
            x = self.skip(x)
        return self.attention(mp_sum(x, y, RESIDUAL)).clamp(-CLIP, CLIP)


class UNet(nn.Module):
    """The raw network F(x, noise, embedding) inside the preconditioning.

    Args:
        channels: image channels.
        classes: number of classes; label -1 stands for "no class".
        widths: channels of each level.
        blocks: residual blocks of each level, each level at half the resolution of the one before.
        patch: side of the square of pixels folded into channels before the first level.
        embedding: width of the noise and class embedding.
        attention: levels (from 0) with self-attention, one head per 64 channels.
        rng: draws the initial weights.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        widths: tuple[int, ...] = (32, 80),
        blocks: tuple[int, ...] = (1, 1),
        patch: int = 2,
        embedding: int = 96,
        attention: tuple[int, ...] = (),
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.patch, self.classes, self.embedding = patch, classes, embedding
        folded = channels * patch**2
        self.fourier = MPFourier(embedding // 2, rng)
        self.noise = MPConv(embedding // 2, embedding, 0, rng)
        self.label = MPConv(classes, embedding, 0, rng)
        self.first = MPConv(folded + 1, widths[0], 3, rng)  # + 1: a channel of ones stands in for biases
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        width, sides = widths[0], [widths[0]]
        for level, (new, count) in enumerate(zip(widths, blocks, strict=True)):
            heads = max(1, new // 64) if level in attention else 0
            for number in range(count):
                move = "down" if level and not number else ""
                self.encoder.append(Block(width, new, embedding, decoder=False, heads=heads, resample=move, rng=rng))
                width = new
                sides.append(width)
        for level in reversed(range(len(widths))):
            new, heads = widths[level], max(1, widths[level] // 64) if level in attention else 0
            for number in range(blocks[level] + (level == 0)):  # one more at the top: the first convolution's output
                move = "up" if level < len(widths) - 1 and not number else ""
                cin = width + sides.pop()
                self.decoder.append(Block(cin, new, embedding, decoder=True, heads=heads, resample=move, rng=rng))
                width = new
        self.last = MPConv(width, folded, 3, rng)
        self.gain = nn.Parameter(torch.zeros(()))
        self.to(memory_format=torch.channels_last)

    def embed(self, label: torch.Tensor) -> torch.Tensor:
<<<<<<< HEAD
        """Class embedding ``[B, E]`` of labels int64 ``[B]``, zero for -1. A learned delta may be added to it."""
        onehot = F.one_hot(label.clamp_min(0), self.classes) * (label >= 0)[:, None]
        return self.label(onehot.to(self.gain.dtype) * math.sqrt(self.classes))

    def forward(self, x: torch.Tensor, noise: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Images ``[B, C, H, W]``, noise condition ``[B]``, class embedding ``[B, E]`` to ``[B, C, H, W]``."""
=======
        """Class embedding ``[B, embedding]`` of labels int64 ``[B]``, zero for -1; deltas may be added to it."""
        onehot = functional.one_hot(label.clamp_min(0), self.classes) * (label >= 0)[:, None]
        return self.label(onehot.to(self.gain.dtype) * math.sqrt(self.classes))

    def forward(self, x: torch.Tensor, noise: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Images ``[B, C, H, W]``, noise condition ``[B]``, class embedding ``[B, embedding]`` to ``[B, C, H, W]``."""
>>>>>>> generate
        embedding = mp_silu(mp_sum(self.noise(self.fourier(noise)), embedding, 0.5))
        h = functional.pixel_unshuffle(x, self.patch)
        h = torch.cat([h, torch.ones_like(h[:, :1])], dim=1).contiguous(memory_format=torch.channels_last)
        h = self.first(h)
        sides = [h]
        for block in self.encoder:
            h = block(h, embedding)
            sides.append(h)
        for block in self.decoder:
            h = block(h, embedding, sides.pop())
        return functional.pixel_shuffle(self.last(h, self.gain), self.patch)
