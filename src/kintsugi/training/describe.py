"""A method and its collaborators as plain data, by which a run folder knows whether it is asked for the same work."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from kintsugi.data.imageset import ImageSet
from kintsugi.training.objective.base import Objective


def describe(thing: Any) -> Any:
    """Plain data that differs where the work would: settings by name, tensors, arrays and models by a hash."""
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set | frozenset):
        return [describe(value) for value in thing]
    if isinstance(thing, torch.Tensor):
        return _hash([thing])
    if isinstance(thing, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(thing).tobytes(), digest_size=16).hexdigest()
    if isinstance(thing, ImageSet):
        return describe_data(thing)
    made: dict[str, Any] = {"name": getattr(type(thing), "__qualname__", str(type(thing)))}
    if inspect.isroutine(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    try:
        names = list(inspect.signature(type(thing)).parameters)
    except ValueError:
        names = []
    made |= {name: describe(getattr(thing, name)) for name in names if hasattr(thing, name)}
    if isinstance(thing, nn.Module) and not isinstance(thing, Objective):  # whose memory is the run's
        made["weights"] = _hash(list(thing.state_dict().values()))
    return made


def describe_data(data: ImageSet) -> dict[str, str]:
    """Pixels, ids and classes by the set's fingerprint; what is learned from the table by a hash."""
    digest = hashlib.blake2b(data.labels.tobytes(), digest_size=16)
    for name in ("target", "weight", "group"):
        if name in data.columns:
            values = data.target if name == "target" else data.column(name)
            digest.update(name.encode())
            digest.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())  # type: ignore[union-attr]
    return {"fingerprint": data.fingerprint, "table": digest.hexdigest()}


def describe_net(model: nn.Module) -> str:
    """A hash of the names and shapes of a model's tensors: its architecture, whatever its weights."""
    text = repr([(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _hash(tensors: list[torch.Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
