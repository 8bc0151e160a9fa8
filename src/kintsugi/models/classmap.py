"""From a model's classes to the data's: exact names, spelling, synonyms, WordNet ids, numbers; or a clear no."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kintsugi.core.errors import BadArgument, BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WNID = re.compile(r"n\d{8}(?!\d)")


@dataclass(frozen=True)
class ClassMap:
    """Which class of the data each output of a model means.

    Attributes:
        index: int64 ``[M]``, the data's class of each output, -1 where the data has no such class.
        notes: what a reader must know: classes left out, orders assumed.
    """

    index: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> bool:
        """Whether outputs and classes agree one to one, in order."""
        return bool((self.index == np.arange(len(self.index))).all())


class Merged(nn.Module):
    """Logits of a model's classes to logits of the data's.

    Outputs without a class are left out: a softmax over the rest renormalises their probabilities. Of several
    outputs that mean one class the probabilities add up.

    Args:
        index: int ``[M]``, values -1..K-1; see :class:`ClassMap`.
        num_classes: K; every class must have an output.
    """

    members: torch.Tensor

    def __init__(self, index: NDArray[np.int64], num_classes: int) -> None:
        super().__init__()
        rows = [np.flatnonzero(index == k) for k in range(num_classes)]
        empty = [k for k, row in enumerate(rows) if not len(row)]
        if empty:
            raise BadArgument(f"No output of the model means class {empty[0]}.", "Map one to it, see --classes.")
        width = max(map(len, rows))
        members = np.full((num_classes, width), len(index), dtype=np.int64)  # M is an output that is never taken
        for k, row in enumerate(rows):
            members[k, : len(row)] = row
        self.register_buffer("members", torch.from_numpy(members), persistent=False)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """``[B, M]`` to ``[B, K]``."""
        if self.members.shape[1] == 1:
            return logits[:, self.members[:, 0]]
        never = logits.new_full((len(logits), 1), -torch.inf)
        return torch.cat((logits, never), 1)[:, self.members].logsumexp(2)


def match(
    model_classes: Sequence[str],
    data_classes: Sequence[str],
    mapping: Mapping[str, Any] | None = None,
    *,
    wnids: Sequence[str] | None = None,
) -> ClassMap:
    """Find the model's output of every class of the data.

    Names are compared exactly, then without case, underscores and hyphens, then by synonyms (``tench, Tinca tinca``)
    and WordNet ids. Where one side has only numbers, they count outputs.

    Args:
        model_classes: names of the model's outputs; ``"0", "1"...`` where nobody named them.
        data_classes: names of the data's classes.
        mapping: the output's name or number, or a list of such, for each class of the data, where names do not tell.
        wnids: WordNet id of each output; found for ImageNet-1k models by themselves.

    Raises:
        BadArgument: classes have no counterpart, or several; they are listed.
    """
    model, data = [str(name) for name in model_classes], [str(name) for name in data_classes]
    if mapping is not None:
        return _ordered(_by_mapping(model, data, mapping, wnids), len(model))
    if len(data) > len(model):
        raise BadArgument(
            f"The data has {len(data)} classes, the model {len(model)}:",
            "take a model that knows them all, or only those classes of the data.",
        )
    numbers_model, numbers_data = (all(name.isdecimal() for name in names) for names in (model, data))
    if model == data:
        return ClassMap(np.arange(len(model)))
    if numbers_model and not numbers_data:
        if len(model) != len(data):
            raise BadArgument(
                f"The model does not name its {len(model)} classes, the data has {len(data)}:",
                "name the model's classes with --classes.",
            )
        note = "The model does not name its classes: they were taken to be in the data's order."
        return ClassMap(np.arange(len(model)), (note,))
    if numbers_data and not numbers_model and max(map(int, data)) < len(model):
        found = {name: [int(name)] for name in data}
        made = _ordered(found, len(model))
        return ClassMap(made.index, (*made.notes, "The data's class names were taken as numbers of outputs."))
    return _ordered(_by_name(model, data, wnids), len(model))


def _ordered(found: Mapping[str, Sequence[int]], outputs: int) -> ClassMap:
    index = np.full(outputs, -1, dtype=np.int64)
    names = list(found)
    for number, (name, members) in enumerate(found.items()):
        for output in members:
            if index[output] >= 0:
                raise BadArgument(
                    f"The classes {names[index[output]]!r} and {name!r} both mean output {output} of the model.",
                    "Map each class to outputs of its own (--classes).",
                )
            index[output] = number
    dropped = int((index < 0).sum())
    note = (
        f"{dropped} of the model's {outputs} classes are not in the data: "
        "they were left out, and the other probabilities renormalised."
    )
    return ClassMap(index, (note,) if dropped else ())


def _by_mapping(
    model: list[str], data: list[str], mapping: Mapping[str, Any], wnids: Sequence[str] | None
) -> dict[str, list[int]]:
    absent = [name for name in data if name not in mapping]
    if absent:
        raise BadArgument(f"The class map names no output for {_some(absent)}.", "Give one for every class.")
    found: dict[str, list[int]] = {}
    for name in data:
        wanted = mapping[name]
        found[name] = []
        for one in wanted if isinstance(wanted, list | tuple) else [wanted]:
            if isinstance(one, int) or (str(one).isdecimal() and str(one) not in model):
                if not 0 <= int(one) < len(model):
                    raise BadArgument(f"The class map gives {name!r} output {one}:", f"give 0 to {len(model) - 1}.")
                found[name].append(int(one))
            else:
                found[name] += _by_name(model, [str(one)], wnids)[str(one)]
    return found


def _by_name(model: list[str], data: list[str], wnids: Sequence[str] | None) -> dict[str, list[int]]:
    codes = _synsets(model, wnids)
    # From the narrowest to the widest: `crane` alone is two ImageNet classes, its WordNet id is one.
    tiers = [
        _places([{name} for name in model]),
        _places([{_plain(name)} for name in model]),
        _places([_code(name, code) for name, code in zip(model, codes, strict=True)]),
        _places([_meanings(name, code) for name, code in zip(model, codes, strict=True)]),
    ]
    found: dict[str, list[int]] = {}
    missing, several = [], []
    for name in data:
        keys = ({name}, {_plain(name)}, _code(name), _meanings(name))
        hits: list[int] = []
        for tier, key in zip(tiers, keys, strict=True):
            hits = sorted({place for word in key for place in tier.get(word, ())})
            if hits:
                break
        if not hits:
            missing.append(name)
        elif len(hits) > 1:
            several.append(f"{name} ({' or '.join(f'{model[hit]} [{hit}]' for hit in hits[:4])})")
        found[name] = hits
    if missing or several:
        parts = []
        if missing:
            parts.append(f"the model has no class for {_some(missing)}; it has {_some(model)}")
        if several:
            parts.append(f"several outputs fit {_some(several)}")
        raise BadArgument(
            f"Classes cannot be matched: {'; '.join(parts)}.",
            "Give --classes: a file with the model's class names, one a line, or CSV lines 'data class,model class'.",
        )
    return found


def _places(names: Sequence[set[str]]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for number, words in enumerate(names):
        for word in words:
            places.setdefault(word, []).append(number)
    return places


def _plain(name: str) -> str:
    """Without case, underscores, hyphens and a leading catalogue number (``001.Black_footed_Albatross``)."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = re.sub(r"^\d+\.\s*(?=\D)", "", text.strip())
    return re.sub(r"[\s_\-]+", " ", text).strip()


def _code(name: str, wnid: str | None = None) -> set[str]:
    """The WordNet id, given or leading the name."""
    found = _WNID.match(name)
    return {code for code in (wnid, found and found.group()) if code}


def _meanings(name: str, wnid: str | None = None) -> set[str]:
    """Every synonym of a name, in plain spelling; a name that is a WordNet id means its words."""
    words = {_plain(word) for word in name.split(",")}
    for code in _code(name, wnid):
        words |= {_plain(word) for word in _imagenet().get(code, "").split(",")}
    return words - {""}


def _synsets(model: list[str], wnids: Sequence[str] | None) -> Sequence[str | None]:
    if wnids is not None:
        if len(wnids) != len(model):
            raise BadData(f"{len(wnids)} WordNet ids for {len(model)} outputs:", "give one an output.")
        return wnids
    known = list(_imagenet())
    if len(model) == len(known):
        pairs = zip(model, imagenet_names(), known, strict=True)
        agree = sum(bool(_meanings(name) & _meanings(own, wnid)) for name, own, wnid in pairs)
        if agree > 0.9 * len(known):  # ImageNet-1k in its usual order, whatever list of names was used
            return known
    return [None] * len(model)


@cache
def _imagenet() -> dict[str, str]:
    """WordNet id to words of the 1000 ImageNet classes, in their order."""
    text = resources.files("kintsugi.models").joinpath("imagenet.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@cache
def imagenet_names() -> tuple[str, ...]:
    """Short names of the 1000 ImageNet classes, all different, in their order."""
    from torchvision.models import get_model_weights

    return tuple(next(iter(get_model_weights("resnet18"))).meta["categories"])


def spoken(name: str) -> str:
    """A class name as one says it in a prompt: ``n01440764`` is ``tench``, ``polar_bear`` is ``polar bear``."""
    code = _WNID.fullmatch(name)
    if code and name in _imagenet():
        return imagenet_names()[list(_imagenet()).index(name)]
    return re.sub(r"[\s_]+", " ", name.partition(",")[0]).strip()


def read_classes(path: Path | str) -> list[str] | dict[str, list[str]]:
    """A ``--classes`` file: the model's class names, one a line; or CSV lines ``data class,model class``, or JSON.

    A file ``.txt`` is a list, whatever commas are in it; ``.csv`` is a map; JSON is a list or an object.

    Raises:
        BadData: it cannot be read as either.
    """
    import csv

    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            made = json.loads(text)
            if isinstance(made, list):
                return [str(name) for name in made]
            return {str(k): [str(w) for w in v] if isinstance(v, list) else [str(v)] for k, v in made.items()}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise BadData(f"The class list {file} cannot be read ({error}).", "Give one name a line, or CSV.") from error
    if file.suffix != ".csv":
        return [line.strip() for line in text.splitlines() if line.strip()]
    mapping: dict[str, list[str]] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        if len(row) != 2:
            raise BadData(f"{file} line {number} has {len(row)} fields:", "write 'data class,model class'.")
        mapping.setdefault(row[0].strip(), []).append(row[1].strip())
    return mapping


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
