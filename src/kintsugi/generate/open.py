"""`open_generator`: one text opens any generator: a folder written by `save`, or a Stable Diffusion pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kintsugi.core.errors import BadArgument
from kintsugi.core.files import read_json
from kintsugi.core.registry import find


def open_generator(spec: str | Path, *, classes: Sequence[str], device: str = "auto") -> Any:
    """Open a generator that makes images of the data's classes.

    Args:
        spec: ``sd:NAME_OR_FOLDER``, or a folder with ``generator.json``.
        classes: the data's class names; a trained generator must have them in the same order.
        device: where it runs.

    Raises:
        BadArgument: nothing of the kind there, or it makes other classes.
    """
    kind, _, name = str(spec).partition(":")
    if kind == "sd" and name:
        from kintsugi.generate.diffusion.stable_diffusion import StableDiffusion

        return StableDiffusion(name, tuple(classes), device=device)
    folder = Path(spec)
    if not (folder / "generator.json").is_file():
        raise BadArgument(
            f"generator={str(spec)!r} names no generator:", "give a folder with generator.json, or sd:NAME."
        )
    method = find(str(read_json(folder / "generator.json").get("name")), "generator").load()
    made = method.load(folder, device=device)
    if tuple(made.classes) != tuple(classes):
        raise BadArgument(
            f"The generator {spec} makes {', '.join(made.classes[:6])}; the data has {', '.join(classes[:6])}.",
            "Train one on these classes.",
        )
    return made
