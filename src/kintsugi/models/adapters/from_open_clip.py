"""open_clip, zero-shot: a linear head over normalised image embeddings, its rows the embedded prompts."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from kintsugi.core.errors import BadArgument, require
from kintsugi.core.optional import need
from kintsugi.models.adapters.opened import RANDOM, Opened, checked, from_hub
from kintsugi.models.checkpoint import load_into, read_state
from kintsugi.models.classmap import spoken
from kintsugi.models.preprocess import Preprocess
from kintsugi.models.seeded import seeded

PROMPTS = ("a photo of a {}.", "a blurry photo of a {}.", "a close-up photo of a {}.", "a drawing of a {}.")


class Tower(nn.Module):
    """The image half: normalised embeddings."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to unit vectors ``[B, D]``."""
        made = self.visual(image)
        return functional.normalize(made[0] if isinstance(made, tuple) else made, dim=-1)


class ZeroShot(nn.Module):
    """Cosine to each class's text embedding, times the learnt scale: a linear layer, and trainable as one.

    Args:
        tower: image half.
        text: float ``[K, D]``, unit rows, times the scale.
    """

    def __init__(self, tower: Tower, text: torch.Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.utils.skip_init(nn.Linear, text.shape[1], text.shape[0], bias=False)
        with torch.no_grad():
            self.head.weight.copy_(text)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` to logits ``[B, K]``."""
        return self.head(self.tower(image))


def open_zero_shot(
    name: str,
    classes: Sequence[str],
    *,
    weights: Path | str | None = None,
    prompts: Sequence[str] = PROMPTS,
    rng: torch.Generator | None = None,
) -> Opened:
    """Open ``open_clip:ARCH[/TAG]`` for the given classes.

    Args:
        name: architecture and pretrained tag, such as ``ViT-B-32/laion2b_s34b_b79k``, or ``hf-hub:owner/name``.
        classes: class names; underscores and WordNet ids are turned into words.
        weights: a local checkpoint, ``random``, or None for those of the tag.
        prompts: templates with one ``{}``; their embeddings are averaged (Radford et al. 2021, section 3.1.4).
        rng: draws random weights.
    """
    wrong = [prompt for prompt in prompts if prompt.count("{}") != 1]
    require(bool(prompts) and not wrong, "prompts", wrong or list(prompts), "templates with one {} for the class name")
    library, clip, preprocess = _clip(name, weights, rng)
    tokenizer = library.get_tokenizer(_split(name)[0])
    rows = []
    with torch.no_grad():
        for one in classes:
            said = tokenizer([prompt.format(spoken(one)) for prompt in prompts])
            each = functional.normalize(clip.encode_text(said), dim=-1)
            rows.append(functional.normalize(each.mean(0), dim=0))
        text = clip.logit_scale.exp() * torch.stack(rows)
    return Opened(ZeroShot(Tower(clip.visual), text), tuple(classes), preprocess)


def open_tower(
    name: str, *, weights: Path | str | None = None, rng: torch.Generator | None = None
) -> tuple[Tower, Preprocess]:
    """The image half of ``open_clip:ARCH[/TAG]``, as an encoder."""
    _, clip, preprocess = _clip(name, weights, rng)
    return Tower(clip.visual), preprocess


def open_both(
    name: str, *, weights: Path | str | None = None, rng: torch.Generator | None = None
) -> tuple[Any, Any, Preprocess]:
    """Both halves of ``open_clip:ARCH[/TAG]``: the net, its tokenizer and its preprocessing."""
    library, clip, preprocess = _clip(name, weights, rng)
    return clip, library.get_tokenizer(_split(name)[0]), preprocess


def _split(name: str) -> tuple[str, str | None]:
    if name.startswith(("hf-hub:", "local-dir:")):
        return name, None
    arch, _, tag = name.partition("/")
    return arch, tag or None


def _clip(name: str, weights: Path | str | None, rng: torch.Generator | None) -> tuple[Any, Any, Preprocess]:
    library = need("open_clip", "models")
    arch, tag = _split(name)
    if ":" not in arch and arch not in library.list_models():
        near = difflib.get_close_matches(arch, library.list_models(), n=4) or library.list_models()[:4]
        raise BadArgument(f"open_clip has no model {arch!r}.", f"Near: {', '.join(near)}.")
    if weights is not None:
        with seeded(rng):
            clip = library.create_model(arch, load_weights=False)
        if weights != RANDOM:
            load_into(clip, read_state(weights), weights)
    else:
        tags = library.list_pretrained_tags_by_model(arch) if ":" not in arch else []
        if ":" not in arch and tag not in tags:
            raise BadArgument(
                f"open_clip:{name} names no pretrained weights:",
                f"write open_clip:{arch}/TAG with one of {', '.join(tags)}, or give --weights FILE."
                if tags
                else "give --weights FILE, there are none for this architecture.",
            )
        with from_hub(f"open_clip:{name}"), seeded(rng):
            clip = library.create_model(arch, pretrained=tag)
    config = library.get_model_preprocess_cfg(clip)
    size = config["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    crop = {"shortest": "center", "squash": "squash", "longest": "pad"}[config.get("resize_mode") or "shortest"]
    preprocess = Preprocess(config["mean"], config["std"], size, crop=crop, interpolation=config["interpolation"])
    transform = need("open_clip.transform", "models").image_transform_v2(
        library.transform.PreprocessCfg(**config), is_train=False
    )
    return library, clip.eval(), checked(preprocess, transform, f"open_clip:{name}")
