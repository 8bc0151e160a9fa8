"""Checkpoints: one safetensors file of all tensors, with the plain facts as JSON in its header: both change at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from kintsugi.core.run import Run

NAME = "checkpoint.safetensors"


def save(run: Run, parts: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Write the checkpoint in place of the last one, atomically; ``parts`` are named sets of tensors."""
    tensors = {f"{part}:{key}": value for part, entries in parts.items() for key, value in entries.items()}
    run.save_weights(tensors, NAME, metadata={"facts": json.dumps(facts, sort_keys=True)})


def load(run: Run) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """The tensors by part, and the facts; None without a checkpoint.

    Raises:
        BadCheckpoint: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = run.path(NAME)
    if not path.exists():
        return None
    parts: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(str(path), "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
            for name in file.keys():  # noqa: SIM118 - not a dict
                part, _, key = name.partition(":")
                parts.setdefault(part, {})[key] = file.get_tensor(name)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadCheckpoint(f"{path} is damaged ({error}).", "Remove it to train from the start.") from error
    return parts, facts
