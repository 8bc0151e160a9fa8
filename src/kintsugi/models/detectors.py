"""Object detectors as content detectors: the surest box of any wanted kind is the image's probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.kinds import Model
from kintsugi.core.optional import need
from kintsugi.core.randomness import torch_rng
from kintsugi.models.adapters.opened import RANDOM, from_hub
from kintsugi.models.checkpoint import load_into, read_state
from kintsugi.models.seeded import seeded

Boxes = list[tuple[torch.Tensor, torch.Tensor]]  # of each image: probabilities [n] and kinds [n]


class BoxDetector(nn.Module):
    """Asks a detector for boxes and keeps the surest of the wanted kinds.

    Args:
        net: the detector's net.
        boxes: images ``[B, 3, H, W]`` in 0..1 to the boxes of each.
        wanted: numbers of the kinds that count.
        name: for reports.
    """

    def __init__(
        self, net: nn.Module, boxes: Callable[[torch.Tensor], Boxes], wanted: Sequence[int], name: str
    ) -> None:
        super().__init__()
        self.net, self.name, self._boxes = net, name, boxes
        self.register_buffer("wanted", torch.tensor(sorted(wanted)), persistent=False)
        self.cost = float(sum(parameter.numel() for parameter in net.parameters()))

    @torch.no_grad()
    def score(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to probabilities ``[B]``, 0 where nothing wanted is seen."""
        found = self._boxes(image.expand(-1, 3, -1, -1))
        wanted: Any = self.wanted
        return torch.stack(
            [torch.cat([p[torch.isin(kind, wanted)], p.new_zeros(1)]).max().clamp(0, 1) for p, kind in found]
        )


class ClassDetector:
    """A classifier as a detector: the probability that an image is of one of some classes.

    Args:
        model: the classifier.
        wanted: names of its classes that count.
        cost: of one image, beside other detectors; None takes the number of weights.
    """

    def __init__(self, model: Model, wanted: Sequence[str], *, cost: float | None = None) -> None:
        self.index = _numbers(wanted, model.classes)
        self.model, self.name = model, f"classifier of {', '.join(wanted)}"
        weights = sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else 0
        self.cost = float(weights) if cost is None else cost
        self.preprocess = getattr(model, "preprocess", None)

    @torch.no_grad()
    def score(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` in 0..1 to probabilities ``[B]``."""
        return self.model(image).double().softmax(1)[:, self.index].sum(1).clamp(0, 1)


def open_detector(
    spec: str,
    wanted: Sequence[str],
    *,
    weights: Path | str | None = None,
    kinds: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> BoxDetector:
    """Open a detector by name.

    Args:
        spec: ``torchvision:NAME`` (``fasterrcnn_resnet50_fpn``), or ``hf:NAME_OR_DIR`` of a detector of transformers;
            code that comes with a checkpoint is never run.
        wanted: names of the kinds of object that count: ``person``.
        weights: a local checkpoint, ``random``, or None for the library's (downloaded once).
        kinds: names of the net's kinds in order, where the weights are one's own; torchvision's have a background
            first.
        device: where to put it.
        seed: of random weights.

    Raises:
        BadArgument: the name or a wanted kind is not known.
        BadCheckpoint: the weights cannot be had.
    """
    library, _, name = spec.partition(":")
    if library == "torchvision":
        made = _torchvision(name, wanted, weights, kinds, seed)
    elif library == "hf":
        require(weights is None, "weights", weights, "none: an hf: folder holds its own")
        made = _transformers(name, wanted)
    else:
        raise BadArgument.of("spec", spec, "torchvision:NAME or hf:NAME")
    return made.to(device).eval()


def _torchvision(
    name: str, wanted: Sequence[str], weights: Path | str | None, kinds: Sequence[str] | None, seed: int
) -> BoxDetector:
    from torchvision.models import detection, get_model, get_model_weights, list_models

    known = list_models(module=detection)
    if name not in known:
        raise BadArgument(f"torchvision has no detector {name!r}.", f"Known: {', '.join(known)}.")
    published = get_model_weights(name)["DEFAULT"]
    names = list(kinds or published.meta["categories"])
    index = _numbers(wanted, names)
    with from_hub(f"torchvision:{name}"), seeded(torch_rng(seed, "weights")):
        if weights is None:
            net: Any = get_model(name, weights=published)
        else:
            net = get_model(name, weights=None, weights_backbone=None, num_classes=len(names))
    if weights is not None and weights != RANDOM:
        load_into(net, read_state(weights), weights)

    def boxes(image: torch.Tensor) -> Boxes:
        return [(found["scores"], found["labels"]) for found in net(list(image))]

    return BoxDetector(net, boxes, index, f"torchvision:{name}")


def _transformers(name: str, wanted: Sequence[str]) -> BoxDetector:
    library = need("transformers", "models")
    with from_hub(f"hf:{name}"):
        processor = library.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        net = library.AutoModelForObjectDetection.from_pretrained(name, trust_remote_code=False)
    names = [str(net.config.id2label[k]) for k in range(net.config.num_labels)]
    index = _numbers(wanted, names)

    def boxes(image: torch.Tensor) -> Boxes:
        given = processor(images=[*(image * 255).round().to(torch.uint8).cpu()], return_tensors="pt")
        made = net(**{key: value.to(image.device) for key, value in given.items() if key.startswith("pixel")})
        # A threshold of nothing keeps every box: what is sure enough is the filter's to say.
        found = processor.post_process_object_detection(made, threshold=0.0)
        if len(found) != len(image):
            raise BadData(f"hf:{name} gives {len(found)} answers to {len(image)} images:", "take another detector.")
        return [(each["scores"], each["labels"]) for each in found]

    return BoxDetector(net, boxes, index, f"hf:{name}")


def _numbers(wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    require(not isinstance(wanted, str) and len(wanted) >= 1, "wanted", wanted, "a list of names")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise BadArgument(f"wanted: the detector does not know {unknown[0]!r}.", f"Known: {', '.join(names[:40])}.")
    return [number for number, name in enumerate(names) if name in wanted]
