"""ONNX Runtime: a black box that answers tensors; preprocessing from the file's metadata or a file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.core.optional import need
from kintsugi.models.adapters.opened import numbered
from kintsugi.models.classmap import Merged, match
from kintsugi.models.preprocess import Preprocess

if TYPE_CHECKING:
    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet


class OnnxModel:
    """A classifier in an ``.onnx`` file. Nothing can be differentiated; features cannot be had.

    The preprocessing is the file's metadata ``kintsugi.preprocess`` (JSON of :meth:`Preprocess.as_dict`), or else the
    ``preprocessor_config.json`` beside the file, or else none: then 0..1 goes in, and a note says so. An output that
    is already a probability is turned into logits by its logarithm.

    Args:
        path: the file.
        classes: names of its outputs; None takes the metadata ``kintsugi.classes`` or ``names``, or numbers.
        preprocess: overrides what the file says.
        device: ``cpu`` or ``cuda``.

    Raises:
        BadCheckpoint: the file is not ONNX, or not a classifier of images.
    """

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        path: Path | str,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        device: str = "cpu",
    ) -> None:
        runtime = need("onnxruntime", "models")
        self.path = Path(path)
        if not self.path.is_file():
            raise BadCheckpoint(f"{path} is not a file.", "Name an .onnx file.")
        offered = runtime.get_available_providers()
        wanted = ["CUDAExecutionProvider"] if str(device).startswith("cuda") else []
        if wanted and wanted[0] not in offered:
            raise BadArgument(f"device={str(device)!r} is not offered by this ONNX Runtime.", "Give cpu.")
        try:
            self._session = runtime.InferenceSession(str(self.path), providers=[*wanted, "CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base but this
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise BadCheckpoint(
                f"{path} cannot be opened as ONNX ({str(error).splitlines()[0]}).", "Export it again."
            ) from error
        self._input = self._session.get_inputs()[0]
        shape = list(self._input.shape)
        if len(self._session.get_inputs()) != 1 or len(shape) != 4:
            raise BadCheckpoint(f"{path} takes input of shape {shape}.", "A classifier takes one [B, C, H, W].")
        self._last = shape[1] not in (1, 3) and shape[3] in (1, 3)  # channels last, as TensorFlow exports
        height, width = shape[1:3] if self._last else shape[2:4]
        self._size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        channels = shape[3] if self._last else shape[1]
        self._fixed = shape[0] if isinstance(shape[0], int) else None
        meta: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.notes: tuple[str, ...] = ()
        self.preprocess = preprocess or self._configured(meta, channels if channels in (1, 3) else 3)
        self.merge: Merged | None = None
        self._dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}.get(
            self._input.type
        )
        if self._dtype is None:
            raise BadCheckpoint(f"{path} takes {self._input.type}.", "Export it with a floating-point input.")
        self._probabilities = False
        probe = self._probe()
        self.own_classes = tuple(classes) if classes is not None else _names(meta) or numbered(probe.shape[1])
        if len(self.own_classes) != probe.shape[1]:
            raise BadArgument(
                f"{len(self.own_classes)} class names for the {probe.shape[1]} outputs of {path}:",
                "name every output, in order.",
            )
        self.classes = self.own_classes

    def _configured(self, meta: Mapping[str, str], channels: int) -> Preprocess:
        if "kintsugi.preprocess" in meta:
            return Preprocess.from_dict(json.loads(meta["kintsugi.preprocess"]))
        beside = self.path.with_name("preprocessor_config.json")
        if beside.is_file():
            from kintsugi.models.adapters.from_transformers import processor_preprocess

            return processor_preprocess(self.path.parent)
        self.notes = (f"{self.path.name} does not state its preprocessing: images go in as 0..1, not normalised.",)
        return Preprocess((0.0,) * channels, (1.0,) * channels, self._size)

    def _probe(self) -> np.ndarray[Any, Any]:
        """Run it once: is it a classifier, and are its outputs probabilities already?"""
        height, width = self._size or self.preprocess.size or (64, 64)
        ramp = torch.linspace(0, 1, self.preprocess.channels * height * width)
        image = torch.stack((ramp, ramp.flip(0))).view(2, self.preprocess.channels, height, width)
        made = self._run(self.preprocess(image).numpy())
        if made.ndim != 2 or not np.isfinite(made).all():
            raise BadCheckpoint(f"{self.path} gives {made.shape} for two images.", "A classifier gives [B, K], finite.")
        self._probabilities = bool((made >= 0).all() and (abs(made.sum(1) - 1) < 1e-3).all())
        return made

    def _run(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        image = image.transpose(0, 2, 3, 1) if self._last else image
        step = self._fixed or len(image)
        parts = []
        for start in range(0, len(image), step):
            part = image[start : start + step]
            short = step - len(part)  # a graph exported for one batch size gets its last batch filled up
            filled = np.concatenate((part, np.repeat(part[-1:], short, axis=0))) if short else part
            made = self._session.run(None, {self._input.name: np.ascontiguousarray(filled, dtype=self._dtype)})[0]
            parts.append(np.asarray(made, dtype=np.float32)[: len(part)])
        return np.concatenate(parts)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Images ``[B, C, H, W]`` in 0..1 to logits ``[B, K]`` on the same device, without a gradient."""
        with torch.no_grad():
            logits = torch.from_numpy(self._run(self.preprocess(image.cpu()).numpy()))
            if self._probabilities:
                logits = logits.clamp_min(1e-12).log()
            return (logits if self.merge is None else self.merge(logits)).to(image.device)

    def outputs(self, data: ImageSet) -> Outputs:
        """What it says of every sample."""
        from kintsugi.models.predict import predict

        return predict(self, data)

    def with_classes(self, data_classes: Sequence[str], mapping: Mapping[str, Any] | None = None) -> OnnxModel:
        """The same session, answering in the classes of the data."""
        import copy

        found = match(self.own_classes, data_classes, mapping)
        made = copy.copy(self)
        made.classes = tuple(data_classes)
        made.merge = None if found.identity else Merged(found.index, len(data_classes))
        made.notes = (*self.notes, *found.notes)
        return made


def _names(meta: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names in the metadata: ours, or the ``names`` that YOLO exports write."""
    if "kintsugi.classes" in meta:
        return tuple(json.loads(meta["kintsugi.classes"]))
    if "names" in meta:
        import ast

        try:
            names = ast.literal_eval(meta["names"])
        except (ValueError, SyntaxError):
            return None
        return tuple(names[k] for k in sorted(names)) if isinstance(names, dict) else None
    return None
