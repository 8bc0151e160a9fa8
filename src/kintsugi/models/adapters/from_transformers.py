"""transformers image classification: preprocessing from the image processor, class names from ``id2label``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from kintsugi.core.errors import BadCheckpoint
from kintsugi.core.optional import need
from kintsugi.models.adapters.opened import RANDOM, Opened, checked, from_hub, grown, numbered
from kintsugi.models.preprocess import Preprocess

_RESAMPLE = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers; Lanczos is nearest to bicubic


class Logits(nn.Module):
    """A transformers classifier that takes and gives tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to logits ``[B, K]``."""
        return self.model(pixel_values=image).logits


def open_transformers(
    name: str,
    *,
    weights: Path | str | None = None,
    num_classes: int | None = None,
    rng: torch.Generator | None = None,
) -> Opened:
    """Open ``hf:NAME_OR_DIR``. Code that comes with a checkpoint is never run.

    Args:
        name: a repository of the hub, or a folder written by ``save_pretrained``.
        weights: a local checkpoint, ``random``, or None for those of the repository or folder.
        num_classes: outputs of a net with random weights.
        rng: draws random weights.
    """
    library = need("transformers", "models")
    with from_hub(f"hf:{name}"):
        config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
        processor = library.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)

    def build(outputs: int | None) -> nn.Module:
        if outputs is not None and outputs != config.num_labels:
            config.num_labels = outputs
        return Logits(library.AutoModelForImageClassification.from_config(config, trust_remote_code=False))

    if weights is None:
        with from_hub(f"hf:{name}"):
            model, said = library.AutoModelForImageClassification.from_pretrained(
                name, trust_remote_code=False, output_loading_info=True
            )
        missing = sorted(map(str, said["missing_keys"]))
        if missing:  # a backbone without its classifier would answer at random
            raise BadCheckpoint(
                f"hf:{name} lacks {len(missing)} of the classifier's weights, first {missing[0]!r}.",
                "Take a checkpoint fine-tuned for image classification.",
            )
        net: nn.Module = Logits(model.float())
    else:
        net = grown(build, weights, num_classes, rng)
    labels = [str(config.id2label[k]) for k in range(config.num_labels)]
    unnamed = labels == [f"LABEL_{k}" for k in range(len(labels))]
    notes = ("The weights are random.",) if weights == RANDOM else ()
    net.eval()
    classes = numbered(len(labels)) if unnamed else tuple(labels)
    return Opened(net, classes, _preprocess(processor, name), notes=notes)


def processor_preprocess(folder: Path | str) -> Preprocess:
    """The preprocessing in the ``preprocessor_config.json`` of a folder."""
    library = need("transformers", "models")
    with from_hub(f"hf:{folder}"):
        processor = library.AutoImageProcessor.from_pretrained(str(folder), trust_remote_code=False)
    return _preprocess(processor, str(folder))


def _preprocess(processor: Any, name: str) -> Preprocess:
    def said(key: str) -> Any:
        return getattr(processor, key, None)

    size, resize, crop = None, None, "center"
    if said("do_resize") and said("size") is not None:
        size, resize, crop = _resize(processor)
    if said("do_center_crop") and said("crop_size") is not None:
        cut = (int(said("crop_size")["height"]), int(said("crop_size")["width"]))
        size, resize = cut, resize if resize is not None else size
    scale = float(said("rescale_factor") or 1 / 255) if said("do_rescale") else 1.0
    offset = 1.0 if said("rescale_offset") else 0.0
    normalize = bool(said("do_normalize"))
    preprocess = Preprocess(
        said("image_mean") if normalize else (0.0,) * 3,
        said("image_std") if normalize else (1.0,) * 3,
        size,
        resize=resize,
        crop=crop,
        interpolation=_RESAMPLE.get(int(said("resample") or 0), "bilinear"),
        bgr=bool(said("do_flip_channel_order")),
        value_range=(-offset, round(255 * scale - offset, 6)),
    )

    def library(picture: Any) -> Any:
        return processor(images=picture, return_tensors="pt")["pixel_values"][0]

    return checked(preprocess, library, f"hf:{name}")


def _resize(processor: Any) -> tuple[tuple[int, int] | None, int | tuple[int, int] | None, str]:
    """Final size, size before cutting, and how, as the processors of transformers mean ``size``."""
    size = processor.size
    if size["shortest_edge"] is None:
        exact = (int(size["height"]), int(size["width"]))
        return exact, None, "squash"
    short = int(size["shortest_edge"])
    percent = getattr(processor, "crop_pct", None)
    if percent is not None:  # ConvNeXt: small sizes are scaled up and cut, large ones squashed
        if short >= 384:
            return (short, short), None, "squash"
        return (short, short), int(short / percent), "center"
    if type(processor).__name__.startswith("Levit"):
        return (short, short), int(256 / 224 * short), "center"
    return None, short, "center"
