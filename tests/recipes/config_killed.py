"""Mend by ConfiG in folders named on standard input, slowly enough to be killed; its argument names a generator."""

import sys

import torch
from killing import serve, tell
from test_config import coloured, mend, net

from kintsugi.core.run import Run
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion


class Tell:
    def on_step(self, loop):
        tell("student")


class TellingDiffusion(PixelDiffusion):
    def decode(self, *arguments, **options):
        tell("image")
        return super().decode(*arguments, **options)


def work(folder):
    parts = {"teacher": net(1), "generator": TellingDiffusion.load(sys.argv[1], device="cpu")}
    mend(parts, coloured(60, 0.0, 3, 0), Run(folder), hooks=[Tell()], rounds=2, images=8)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(work)
