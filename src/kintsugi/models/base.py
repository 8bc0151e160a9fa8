"""`TorchModel`: any torch net as a classifier of images in 0..1, with its features, its head and its classes."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.models.classmap import Merged, match
from kintsugi.models.layers import pooled
from kintsugi.models.preprocess import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet


@runtime_checkable
class BlackBox(Protocol):
    """A classifier of which only the outputs can be had."""

    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def outputs(self, data: ImageSet) -> Outputs:
        """What it says of every sample."""


class TorchModel(nn.Module):
    """A net with its preprocessing, in the classes of the data.

    Args:
        net: takes the preprocessed image, returns logits ``[B, M]`` (or an object with ``logits``).
        classes: names of its M outputs, in order.
        preprocess: what the net was trained on; None feeds 0..1 as it is, in as many channels as the first
            convolution takes.
        head: name of the last linear layer inside ``net``; None finds it.
        class_index: int ``[M]``, the data's class of each output, -1 for outputs to leave out; see
            :meth:`with_classes`.
        data_classes: the data's class names when ``class_index`` is given.
        wnids: WordNet id of each output, where known, to match classes by.
        spec: the text :func:`~kintsugi.models.open.open_model` opens this architecture by.
        notes: sentences a reader must see, such as what had to be assumed on loading.

    Attributes:
        classes: class names of the logits this model returns.
        own_classes: class names of the net's outputs.
        class_index: the data's class of each output, -1 where it has none; None where outputs are its classes.
        bounds: range of the images, (0, 1).
    """

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        net: nn.Module,
        classes: Sequence[str],
        preprocess: Preprocess | None = None,
        head: str | None = None,
        *,
        class_index: Sequence[int] | NDArray[np.int64] | None = None,
        data_classes: Sequence[str] | None = None,
        wnids: Sequence[str] | None = None,
        spec: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.own_classes = tuple(str(name) for name in classes)
        if not self.own_classes:
            raise BadArgument.of("classes", list(classes), "the names of the net's outputs")
        self.preprocess = preprocess if preprocess is not None else Preprocess(*_identity(net))
        self.merge: Merged | None = None
        self.classes = self.own_classes
        if class_index is not None:
            if data_classes is None:
                raise BadArgument("class_index was given without data_classes:", "name the classes it points to.")
            self.classes = tuple(str(name) for name in data_classes)
            self.merge = Merged(np.asarray(class_index, dtype=np.int64), len(self.classes))
        self.class_index = None if class_index is None else tuple(int(k) for k in class_index)
        self.spec = spec if spec is not None else getattr(net, "spec", None)
        self.notes = tuple(notes)
        self.wnids = None if wnids is None else tuple(wnids)
        self._head = head
        if head is not None:
            self._layer(head)

    # ---------------------------------------------------------------------------------------------- answers

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images float ``[B, C, H, W]`` in 0..1 to logits ``[B, K]``.

        Where the net has classes the data lacks, their logits are left out, so that a softmax renormalises.

        Raises:
            BadData: the net has another number of outputs than class names.
        """
        logits = _tensor(self.net(self.preprocess(image)))
        if logits.ndim != 2 or logits.shape[1] != len(self.own_classes):
            raise BadData(
                f"The net's output has shape {tuple(logits.shape)} for {len(self.own_classes)} class names:",
                "name the classes of its outputs (--classes), or open it with the right number.",
            )
        return logits if self.merge is None else self.merge(logits)

    def features(self, image: torch.Tensor, at: str | None = None, places: int = 1) -> torch.Tensor:
        """Images ``[B, C, H, W]`` in 0..1 to vectors ``[B, D]``.

        Args:
            image: as for :meth:`forward`.
            at: name of a layer inside the net, whose pooled output is returned: maps are averaged, of tokens the
                class token is taken, or their mean where there is none. None: the input of the last linear layer.
            places: maps are averaged within ``places`` x ``places`` cells and D is channels x ``places``^2.

        Raises:
            BadArgument: there is no such layer, it was not run, or it gives no maps to average within cells.
        """
        return self.features_and_logits(image, at, places)[0]

    def features_and_logits(
        self, image: torch.Tensor, at: str | None = None, places: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both answers in one pass: :meth:`features` and :meth:`forward`."""
        layer, before = (self._head_layer(), True) if at is None else (self._layer(at), False)
        with _caught(layer, before) as caught:
            logits = self(image)
        if not caught:
            raise BadArgument(f"The layer {at or 'head'!r} was not run for this image.", "Name another with at=.")
        return pooled(caught[-1], self.net, places), logits

    # ---------------------------------------------------------------------------------------------- anatomy

    def head(self) -> nn.Linear:
        """The last linear layer.

        Raises:
            BadArgument: the net ends in another kind of layer.
        """
        layer = self._head_layer()
        if not isinstance(layer, nn.Linear):
            raise BadArgument(
                f"The net ends in {type(layer).__name__} and not in a linear layer.", "Name one with head=."
            )
        return layer

    @property
    def head_name(self) -> str:
        """Name of the last layer inside the net."""
        return self._head if self._head is not None else last_layer(self.net, len(self.own_classes))[0]

    def _head_layer(self) -> nn.Module:
        return self._layer(self.head_name)

    def _layer(self, name: str) -> nn.Module:
        layers = dict(self.net.named_modules())
        if name not in layers:
            # Wrappers put the library's net one level down; its own names are what people know.
            inner = [full for full in layers if full.partition(".")[2] == name]
            if len(inner) != 1:
                near = difflib.get_close_matches(name, layers, n=4) or list(layers)[1:6]
                raise BadArgument(f"There is no layer {name!r}.", f"Near: {', '.join(near)}.")
            name = inner[0]
        return layers[name]

    # ------------------------------------------------------------------------------------------ other models

    def copy(self) -> TorchModel:
        """A deep copy: weights are not shared."""
        return copy.deepcopy(self)

    def with_classes(self, data_classes: Sequence[str], mapping: Mapping[str, Any] | None = None) -> TorchModel:
        """A model that shares this net and answers in the classes of the data.

        Args:
            data_classes: the data's class names, in the order of its labels.
            mapping: the model's name, number or list of such for each data class; None matches by name.

        Raises:
            BadArgument: a class has no counterpart, or several.
        """
        found = match(self.own_classes, data_classes, mapping, wnids=self.wnids)
        return TorchModel(
            self.net,
            data_classes if found.identity else self.own_classes,
            self.preprocess,
            self._head,
            class_index=None if found.identity else found.index,
            data_classes=data_classes,
            wnids=self.wnids,
            spec=self.spec,
            notes=(*self.notes, *found.notes),
        )

    def describe(self) -> dict[str, Any]:
        """All that a run folder needs beside the weights; ``config.json`` holds it under ``model``."""
        return {
            "spec": self.spec,
            "options": dict(getattr(self.net, "options", {})),
            "classes": list(self.classes),
            "own_classes": list(self.own_classes),
            "class_index": self.class_index and list(self.class_index),
            "preprocess": self.preprocess.as_dict(),
            "head": self._head,
        }


def last_layer(net: nn.Module, outputs: int | None = None) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name of the layer that makes the logits, and the layer.

    Args:
        net: the net.
        outputs: number of logits; the last linear layer that has as many, or else the last such convolution
            (the 1x1 head of SqueezeNet and its like), or else the last linear layer.

    Raises:
        BadArgument: there is none.
    """
    layers = list(net.named_modules())
    linear = [(name, layer, layer.out_features) for name, layer in layers if isinstance(layer, nn.Linear)]
    conv = [(name, layer, layer.out_channels) for name, layer in layers if isinstance(layer, nn.Conv2d)]
    for found in (linear, conv):
        fitting = [one for one in found if outputs is None or one[2] == outputs]
        if fitting:
            return fitting[-1][:2]
    if linear:
        return linear[-1][:2]
    raise BadArgument("The net has no linear layer to take features before.", "Name a layer with head= or at=.")


def _identity(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    convs = (layer.in_channels for layer in net.modules() if isinstance(layer, nn.Conv2d))
    channels = 1 if next(convs, 3) == 1 else 3
    return (0.0,) * channels, (1.0,) * channels


def _tensor(value: Any) -> torch.Tensor:
    """The logits, whatever the library wraps them in."""
    for name in ("logits", "last_hidden_state"):
        if getattr(value, name, None) is not None:
            return getattr(value, name)
    return value if isinstance(value, torch.Tensor) else value[0]


@contextmanager
def _caught(layer: nn.Module, before: bool) -> Iterator[list[torch.Tensor]]:
    """What goes into (or comes out of) a layer while the block runs."""
    caught: list[torch.Tensor] = []
    take: Callable[..., None]
    if before:

        def take(_: nn.Module, given: Any) -> None:
            caught.append(_tensor(given))

        handle = layer.register_forward_pre_hook(take)
    else:

        def take(_: nn.Module, __: Any, made: Any) -> None:
            caught.append(_tensor(made))

        handle = layer.register_forward_hook(take)
    try:
        yield caught
    finally:
        handle.remove()
