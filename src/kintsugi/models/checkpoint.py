"""Weights from a file, read without executing anything in it."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kintsugi.core.errors import BadCheckpoint

# Where training scripts put the weights inside their checkpoint, and what wrappers put before every name.
_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "state_dict_ema", "model_ema")
_WRAPPERS = ("module.", "_orig_mod.")
_OWNERS = ("model.", "net.", "backbone.", "encoder.", "classifier.")


def read_state(path: Path | str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, on the CPU, without ``module.`` and ``_orig_mod.`` before their names.

    Args:
        path: ``.safetensors``, ``.npz``, or anything ``torch.save`` wrote; a state dict alone or inside a
            checkpoint under ``state_dict``, ``model`` and the like.

    Raises:
        BadCheckpoint: the file is missing, broken, holds no tensors, or would execute code when read.
    """
    file = Path(path)
    if not file.is_file():
        raise BadCheckpoint(f"{file} is not a file.", "Name a checkpoint: .safetensors, .pth, .pt or .npz.")
    if not file.stat().st_size:
        raise BadCheckpoint(f"{file} is empty (0 bytes).", "Fetch or save it again.")
    if file.suffix == ".safetensors":
        found: Any = _safetensors(file)
    elif file.suffix == ".npz":
        found = _npz(file)
    else:
        found = _torch(file)
    return _unwrapped(_state(found, file))


def _safetensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadCheckpoint(f"{file} is not a whole safetensors file ({error}).", "Fetch or save it again.") from error


def _npz(file: Path) -> dict[str, torch.Tensor]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    except (ValueError, TypeError) as error:
        if "pickle" in str(error):
            raise _would_execute(file, "an array of Python objects") from error
        raise BadCheckpoint(f"{file} is not an npz of arrays ({error}).", "Save arrays of numbers.") from error
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        raise BadCheckpoint(f"{file} is not a whole npz file ({error}).", "Fetch or save it again.") from error


def _torch(file: Path) -> Any:
    try:
        with warnings.catch_warnings():  # torch warns that its safe reader may not know all of a foreign pickle
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        if any(sign in text for sign in ("Unsupported global", "GLOBAL", "Unsupported operand", "Unsupported class")):
            raise _would_execute(file, _culprit(text)) from error
        raise BadCheckpoint(f"{file} is not a checkpoint ({_first(error)}).", "Save a state dict.") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        # The reader of torch's format meets a broken or foreign file with any of these.
        raise BadCheckpoint(f"{file} is broken or no torch checkpoint ({_first(error)}).", "Save it again.") from error


def _would_execute(file: Path, what: str) -> BadCheckpoint:
    return BadCheckpoint(
        f"{file} would execute code when read ({what}).",
        "It was not read. Ask its maker for safetensors, or for torch.save(model.state_dict(), FILE).",
    )


def _culprit(text: str) -> str:
    if "Unsupported operand " in text:  # a number only pickle's own reader knows: torch.save never writes it
        return "it is a bare pickle"
    for sign in ("GLOBAL ", "Unsupported class "):
        if sign in text:
            return text.partition(sign)[2].split()[0].strip("`'\"")
    return "a pickled object"


def _first(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]


def _state(found: Any, file: Path) -> dict[str, torch.Tensor]:
    for _ in range(3):  # {'state_dict': {'model': {...}}} has been seen
        if not isinstance(found, Mapping):
            break
        tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
        inner = [found[name] for name in _NESTED if isinstance(found.get(name), Mapping)]
        if inner:
            found = inner[0]
        elif tensors:
            return tensors
        else:
            break
    kind = f"a {type(found).__name__}" if not isinstance(found, Mapping) else f"keys {list(found)[:5]}"
    raise BadCheckpoint(f"{file} holds no tensors ({kind}).", f"Save a state dict, or one under {_NESTED[0]!r}.")


def _unwrapped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    again = True
    while again:
        again = False
        for prefix in _WRAPPERS:
            if all(name.startswith(prefix) or name == "n_averaged" for name in state) and len(state) > 0:
                state = {name.removeprefix(prefix): value for name, value in state.items() if name != "n_averaged"}
                again = bool(state)
    return state


def fitted(state: Mapping[str, torch.Tensor], net: nn.Module) -> dict[str, torch.Tensor]:
    """The state under the names of ``net``, where all its names carry one more (or one less) prefix."""
    wanted = set(net.state_dict())
    best = dict(state)
    for prefix in _OWNERS:
        less = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        more = {prefix + name: value for name, value in state.items()}
        best = max(best, less, more, key=lambda one: len(wanted & set(one)))
    return best


def load_into(net: nn.Module, state: Mapping[str, torch.Tensor], path: Path | str) -> None:
    """Put a state into a net, exactly.

    Args:
        net: the net, changed in place.
        state: tensors by name, from :func:`read_state`.
        path: where they come from, for messages.

    Raises:
        BadCheckpoint: names are missing or unexpected, or shapes differ; the first few are listed. The net is
            then unchanged.
    """
    state = fitted(state, net)
    own = net.state_dict()
    # Batch counters came into batch normalisation late; a checkpoint without them is whole.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        parts = [
            f"{len(names)} {what} ({_some(names)})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if names
        ]
        raise BadCheckpoint(
            f"The weights in {path} do not fit this {type(net).__name__}: {'; '.join(parts)}.",
            "Name the architecture they were saved from, and the right number of classes.",
        )
    broken = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise BadCheckpoint(
            f"The weights in {path} are not finite in {_some(broken)}.", "Take a checkpoint from before it diverged."
        )
    own.update(state)  # keeps the version numbers that some layers check
    net.load_state_dict(own)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
