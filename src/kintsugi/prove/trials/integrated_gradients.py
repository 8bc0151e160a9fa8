"""Evidence for `integrated_gradients`: its credit lies on the digit, the cause, more than a plain gradient's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kintsugi.core.errors import one_of
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.discover.explain.integrated_gradients import IntegratedGradients
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import accuracy, trained, whole
from kintsugi.prove.trial import Claim

if TYPE_CHECKING:
    from kintsugi.core.run import Run

ROW = "digits on photographs"
BASELINES = ("gradient", "gradient times input", "area")


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        "integrated_gradients",
        "integrated_gradients: share of the absolute credit that lies on the digit's pixels, of a net that has nothing "
        "else to go by",
        (Claim(ROW, "share on the digit", "integrated_gradients", BASELINES),),
        _measure,
        "scikit-learn's digits on its two photographs, 20 px, background independent of the class; 800 to train, every "
        "test digit on each photograph to explain; nothing was tuned",
        settings={"epochs": 12, "width": 16, "method": "its defaults: black baseline, 50 steps, the logit"},
    )


def _measure(seed: int, run: Run) -> Measured:
    scenes, bare = DigitsOnPhotos(), DigitsOnPhotos(ink=(0.0, 0.0))  # the same random numbers, drawn without ink
    model = trained(scenes.mixed(800, 0.5, "pool", seed), seed)
    batch, ground = whole(scenes.every_group("test", seed)), whole(bare.every_group("test", seed))
    digit = ((batch.image - ground.image).abs().amax(1) > 0.1).float()
    with torch.no_grad():
        target = model(batch.image).argmax(1)
    leaf = batch.image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)
    maps = {
        "integrated_gradients": IntegratedGradients()(model, batch.image, target),
        "gradient": slope.abs().sum(1),  # signs of the channels would cancel
        "gradient times input": (slope * batch.image).sum(1),
        "area": torch.ones_like(digit),
    }
    for arm, value in maps.items():
        share = (value.abs() * digit).sum((1, 2)) / value.abs().sum((1, 2)).clamp_min(1e-12)
        yield ROW, arm, {"share on the digit": float(share.mean()), "test accuracy": accuracy(model, batch)}
