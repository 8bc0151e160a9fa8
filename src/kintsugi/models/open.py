"""`open_model`: one text opens any model: a library's, a file's, a folder's, or predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.core.files import read_json
from kintsugi.core.kinds import Model
from kintsugi.core.randomness import torch_rng
from kintsugi.models.adapters.opened import RANDOM, Opened
from kintsugi.models.base import BlackBox, TorchModel
from kintsugi.models.checkpoint import load_into, read_state
from kintsugi.models.classmap import read_classes
from kintsugi.models.predictions import SUFFIXES, Predictions
from kintsugi.models.preprocess import Preprocess
from kintsugi.models.small import IMAGENET_MEAN, IMAGENET_STD, small_net

FORMS = (
    "timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER, open_clip:ARCH/TAG, small:cnn, small:resnet20, small:lenet5, "
    "a run folder, FILE.onnx, or predictions (.csv, .npz, .parquet)"
)
_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")

_LIBRARIES = {  # the module and function that open it
    "timm": ("from_timm", "open_timm"),
    "torchvision": ("from_torchvision", "open_torchvision"),
    "hf": ("from_transformers", "open_transformers"),
    "open_clip": ("from_open_clip", "open_zero_shot"),
}

Classes = Sequence[str] | Mapping[str, Any] | Path | str | None


def open_model(
    spec: Any,
    *,
    data_classes: Sequence[str] | None = None,
    classes: Classes = None,
    weights: Path | str | None = None,
    device: str | torch.device = "cpu",
    preprocess: Preprocess | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    **options: Any,
) -> TorchModel | BlackBox:
    """Open a model, in the classes of the data.

    Args:
        spec: a torch module, a model, or one of the texts in :data:`FORMS`.
        data_classes: the data's class names; the model then answers in them.
        classes: names of the model's outputs in order; or a mapping from each class of the data to the model's name
            or number (or a list of such); or a file of either, see :func:`~kintsugi.models.classmap.read_classes`.
        weights: a local checkpoint, or ``random``. None loads the library's pretrained weights; the ``small`` nets
            have none and start at random.
        device: where to put it.
        preprocess: overrides what the checkpoint's configuration says.
        size: (height, width) to bring images to where the model states none; images of one size need none.
        seed: of random weights.
        options: of the adapter: ``prompts`` for ``open_clip``, ``channels``, ``width`` for ``small``,
            ``held_out`` for predictions.

    Returns:
        A :class:`TorchModel`; for ONNX and predictions a black box. Its ``notes`` say what had to be assumed.

    Raises:
        BadArgument: the text names nothing, or classes cannot be matched.
        BadCheckpoint: weights cannot be read, fetched, or do not fit.
        MissingDependency: the library it needs is not installed.
    """
    given = read_classes(classes) if isinstance(classes, str | Path) else classes
    names = None if given is None or isinstance(given, Mapping) else [str(name) for name in given]
    mapping = given if isinstance(given, Mapping) else None
    if mapping is not None and str(spec).startswith("open_clip:"):  # a zero-shot model knows what it is asked about
        names = list(dict.fromkeys(name for value in mapping.values() for name in _several(value)))
    model = _opened(spec, data_classes, names, weights, device, preprocess, seed, options)
    if data_classes is not None and (tuple(model.classes) != tuple(data_classes) or mapping is not None):
        model = _mapped(model, data_classes, mapping)
    if isinstance(model, TorchModel) and size is not None and model.preprocess.size is None:
        model.preprocess.size = size
    if isinstance(model, nn.Module):
        model.eval()
        model.to(device)
    if isinstance(model, TorchModel):
        _probe(model, spec)
    return model


def _opened(
    spec: Any,
    data_classes: Sequence[str] | None,
    names: list[str] | None,
    weights: Path | str | None,
    device: str | torch.device,
    preprocess: Preprocess | None,
    seed: int,
    options: dict[str, Any],
) -> Any:
    if isinstance(spec, nn.Module) or not isinstance(spec, str | Path):
        return _module(spec, data_classes, names, weights, preprocess)
    text = str(spec)
    kind, _, name = text.partition(":")
    rng = torch_rng(seed, "weights")
    if kind in _LIBRARIES and name:
        return _library(text, kind, name, data_classes, names, weights, preprocess, rng, options)
    if kind == "small" and name:
        return _small(name, data_classes, names, weights, preprocess, rng, options)
    path = Path(text)
    if path.suffix.lower() == ".onnx":
        from kintsugi.models.adapters.from_onnx import OnnxModel

        return OnnxModel(path, names, preprocess, str(device))
    if path.suffix.lower() in SUFFIXES:
        return Predictions(path, names, **options)
    if path.is_dir():
        return open_run(path, preprocess=preprocess)
    if path.suffix.lower() in _WEIGHTS:
        raise BadArgument(
            f"{text} holds weights and does not say of which architecture:",
            f"name that, with --weights {path.name}; for example timm:resnet50.",
        )
    raise BadArgument(f"model={text!r} names no model:", f"give {FORMS}.")


def _module(
    net: Any,
    data_classes: Sequence[str] | None,
    names: list[str] | None,
    weights: Path | str | None,
    preprocess: Preprocess | None,
) -> Any:
    if not isinstance(net, nn.Module):
        if isinstance(net, Model) or hasattr(net, "outputs"):
            return net
        raise BadArgument(f"model is a {type(net).__name__}:", f"give a torch module, or {FORMS}.")
    if weights not in (None, RANDOM):
        inner = net.net if isinstance(net, TorchModel) else net
        load_into(inner, read_state(weights), weights)
    if isinstance(net, TorchModel) or (isinstance(net, Model) and isinstance(getattr(net, "classes", None), tuple)):
        return net
    known = names or data_classes
    if known is None:
        raise BadArgument("A torch module has no class names:", "give classes=, the names of its outputs in order.")
    notes = () if preprocess else ("The module states no preprocessing: images go in as 0..1, not normalised.",)
    if names is None:
        notes = (*notes, "The module does not name its classes: they were taken to be in the data's order.")
    return TorchModel(net, known, preprocess, notes=notes)


def _library(
    text: str,
    kind: str,
    name: str,
    data_classes: Sequence[str] | None,
    names: list[str] | None,
    weights: Path | str | None,
    preprocess: Preprocess | None,
    rng: torch.Generator,
    options: dict[str, Any],
) -> TorchModel:
    module, function = _LIBRARIES[kind]
    open_it = getattr(import_module(f"kintsugi.models.adapters.{module}"), function)
    wanted = names or data_classes
    if kind != "open_clip":
        count = len(wanted) if wanted is not None and weights == RANDOM else None
        opened = open_it(name, weights=weights, num_classes=count, rng=rng, **options)
    elif wanted is None:
        raise BadArgument(f"{text} is zero-shot and needs class names:", "give data_classes= or classes=.")
    else:
        opened = open_it(name, wanted, weights=weights, rng=rng, **options)
    return _as_model(text, opened, wanted, names, preprocess, fresh=weights == RANDOM)


def _as_model(
    text: str,
    opened: Opened,
    wanted: Sequence[str] | None,
    names: list[str] | None,
    preprocess: Preprocess | None,
    *,
    fresh: bool,
) -> TorchModel:
    own = names if names is not None else opened.classes
    if len(own) != len(opened.classes):
        raise BadArgument(
            f"{len(own)} class names for the {len(opened.classes)} outputs of {text}:", "name every output, in order."
        )
    taught = not fresh or wanted is None
    if not taught:  # nobody taught these outputs anything yet: they are the data's classes
        own = tuple(wanted or ())
    wnids = opened.wnids if names is None and taught else None
    return TorchModel(opened.net, own, preprocess or opened.preprocess, wnids=wnids, spec=text, notes=opened.notes)


def _small(
    name: str,
    data_classes: Sequence[str] | None,
    names: list[str] | None,
    weights: Path | str | None,
    preprocess: Preprocess | None,
    rng: torch.Generator,
    options: dict[str, Any],
) -> TorchModel:
    state = None if weights in (None, RANDOM) else read_state(weights)
    known = names or (data_classes if state is None else None)
    if state is not None:
        rows = [value.shape[0] for key, value in state.items() if key.endswith("weight") and value.ndim == 2]
        known = known or (data_classes if data_classes and rows and rows[-1] == len(data_classes) else None)
        known = known or [str(k) for k in range(rows[-1] if rows else 0)]
    if not known:
        raise BadArgument(f"small:{name} needs class names:", "give data_classes= or classes=.")
    net = small_net(name, len(known), rng, **options)
    if state is not None:
        load_into(net, state, weights or "")
    if preprocess is None:
        preprocess = _small_preprocess(net)
    return TorchModel(net, known, preprocess, spec=f"small:{name}")


def _small_preprocess(net: nn.Module) -> Preprocess:
    """What the published CIFAR and MNIST checkpoints of these nets were trained on."""
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    if getattr(net, "spec", "") == "small:lenet5":
        return Preprocess((0.0,), (1.0,), (28, 28))
    if first.in_channels == 1:
        return Preprocess((0.5,), (0.25,))
    return Preprocess(IMAGENET_MEAN, IMAGENET_STD)


def open_run(path: Path | str, *, preprocess: Preprocess | None = None) -> TorchModel:
    """The model of a run folder: ``config.json`` holds :meth:`TorchModel.describe` under ``model``.

    Raises:
        BadCheckpoint: the folder holds no model, or one whose architecture only its maker can build.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise BadCheckpoint(f"{folder} has no config.json.", "Name a run folder, or hf:FOLDER for transformers.")
    config = read_json(folder / "config.json")
    if isinstance(config, dict) and "model_type" in config:
        raise BadCheckpoint(f"{folder} is a folder of transformers.", f"Write hf:{folder}.")
    said = config.get("model") if isinstance(config, dict) else None
    if not isinstance(said, dict) or not said.get("spec"):
        raise BadCheckpoint(
            f"{folder} does not say which architecture its weights are of.",
            "Build the module and give it with weights=weights.safetensors.",
        )
    options = {key: value for key, value in said.get("options", {}).items() if key not in ("num_classes", "depth")}
    spec = str(said["spec"])
    if spec == "small:resnet":
        spec += str(said["options"]["depth"])
    fixed = Preprocess.from_dict(said["preprocess"])
    made = open_model(spec, classes=said["own_classes"], weights=RANDOM, preprocess=fixed, **options)
    if not isinstance(made, TorchModel):
        raise BadCheckpoint(f"{folder} was made of {spec}, which has no weights.", "Name the model itself.")
    model = TorchModel(
        made.net,
        said["own_classes"],
        preprocess or fixed,
        said.get("head"),
        class_index=said.get("class_index"),
        data_classes=said["classes"],
        spec=said["spec"],
    )
    file = folder / "weights.safetensors"
    load_into(model, read_state(file), file)
    return model.eval()


def _several(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def _mapped(model: Any, data_classes: Sequence[str], mapping: Mapping[str, Any] | None) -> Any:
    if not hasattr(model, "with_classes"):
        raise BadArgument(
            f"The model answers in {tuple(model.classes)[:6]}, the data has {tuple(data_classes)[:6]}.",
            "Give a model that answers in the classes of the data.",
        )
    return model.with_classes(data_classes, mapping)


def _probe(model: TorchModel, spec: Any) -> None:
    """Run it once, on the size it states: is it a classifier of these classes, are its answers numbers?"""
    size = model.preprocess.size
    if size is None:
        return
    place = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        try:
            logits = model(torch.full((1, 3, *size), 0.5, device=place))
        except RuntimeError as error:
            raise BadCheckpoint(
                f"{spec} cannot take images of {size[0]} x {size[1]} ({str(error).splitlines()[0][:160]}).",
                "Check the preprocessing it states.",
            ) from error
    if not bool(logits.isfinite().all()):
        raise BadCheckpoint(f"{spec} answers with NaN on a grey image.", "Its weights are broken: fetch them again.")
