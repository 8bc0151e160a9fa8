"""Predictions read from a file: npz, CSV or Parquet, a black box with nothing behind it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.models.classmap import match

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

SUFFIXES = (".csv", ".npz", ".parquet")
_IDS = ("id", "ids", "file", "filename", "file_name", "image", "image_id", "path", "name")
_PROBS = ("prob", "probs", "probability", "probabilities", "softmax", "scores", "predictions")
_LOGITS = ("logits", "logit")
_PREFIXES = ("prob_", "prob:", "p_", "logit_", "logit:")
_NEVER = ("label", "split", "pred", "prediction", "predicted", "target", "index", "confidence", "correct", "held_out")


class Predictions:
    """What a model said, in a file.

    Read are: an npz with ``id`` and ``prob`` or ``logits`` ``[N, K]`` (and, if there, ``classes``, ``features``,
    ``held_out``); CSV or Parquet with an id column and one column a class (``prob_`` or ``logit_`` before the name is
    allowed), or one column ``prob`` or ``logits`` of lists.

    Args:
        path: the file.
        classes: class names of its columns, where the file does not name them.
        held_out: whether the samples were unseen in training; None takes what the file says, if anything.
        id_column: name of the id column; None finds it.

    Raises:
        BadData: the file cannot be read, an id repeats, values are NaN, or rows are not probabilities.
    """

    def __init__(
        self,
        path: Path | str,
        classes: Sequence[str] | None = None,
        held_out: bool | None = None,
        id_column: str | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise BadArgument.of("path", str(path), "a predictions file: " + ", ".join(SUFFIXES))
        if not self.path.is_file():
            raise BadData(f"{path} is not a file.", "Name a predictions file.")
        read = _read_npz if self.path.suffix.lower() == ".npz" else _read_table
        found = read(self.path, id_column, classes)
        self.ids: list[str] = found["id"]
        value: NDArray[np.float64] = found["value"]
        if value.ndim != 2 or len(value) != len(self.ids):
            raise BadData(f"{path} has values of shape {value.shape} for {len(self.ids)} ids:", "give one row an id.")
        names = classes if classes is not None else found["classes"]
        self.own_classes = tuple(map(str, names)) if names is not None else tuple(map(str, range(value.shape[1])))
        if len(self.own_classes) != value.shape[1]:
            raise BadData(
                f"{path} has {value.shape[1]} values a row for {len(self.own_classes)} class names:",
                "name every column (--classes).",
            )
        self.classes = self.own_classes
        self.notes: tuple[str, ...] = ()
        self.features: NDArray[np.float32] | None = found.get("features")
        self.held_out = held_out if held_out is not None else found.get("held_out")
        self._prob = self._normal(value, found["logits"])
        self._place = _places(self.path, self.ids)
        self.class_index: NDArray[np.int64] | None = None

    def _normal(self, value: NDArray[np.float64], logits: bool) -> NDArray[np.float64]:
        bad = np.flatnonzero(~np.isfinite(value).all(axis=1))
        if len(bad):
            raise BadData(
                f"{self.path} has NaN or infinite values for {len(bad)} of {len(value)} samples, "
                f"first {self.ids[int(bad[0])]!r}.",
                "Remove these rows or repair the model that made them.",
            )
        if logits:
            from scipy.special import softmax

            return np.asarray(softmax(value, axis=1), dtype=np.float64)
        total = value.sum(axis=1)
        off = np.flatnonzero((np.abs(total - 1) > 1e-3) | (value < -1e-6).any(axis=1))
        if len(off):
            worst = int(off[0])
            percent = bool((value >= 0).all() and np.allclose(total, 100, atol=1))
            raise BadData(
                f"{self.path} has rows that are not probabilities for {len(off)} of {len(value)} samples, "
                f"first {self.ids[worst]!r} (sum {total[worst]:.4g}, least {value[worst].min():.4g}).",
                "Divide the percentages by 100." if percent else "Give rows summing to 1, or logits named 'logits'.",
            )
        return value

    def with_classes(self, data_classes: Sequence[str], mapping: Mapping[str, Any] | None = None) -> Predictions:
        """The same predictions in the classes of the data; what other classes had is dropped and renormalised."""
        import copy

        found = match(self.own_classes, data_classes, mapping)
        made = copy.copy(self)
        made.classes, made.notes = tuple(map(str, data_classes)), (*self.notes, *found.notes)
        made.class_index = None if found.identity else found.index
        return made

    def outputs(self, data: ImageSet) -> Outputs:
        """The predictions in the data set's order; samples of the file that the data lacks are left out.

        Raises:
            BadData: samples of the data have no prediction; how many, and the first, are named.
        """
        missing = [name for name in data.ids if name not in self._place]
        if missing:
            raise BadData(
                f"{self.path} has no prediction for {len(missing)} of {len(data)} samples "
                f"(first {', '.join(map(repr, missing[:3]))}; its own ids are like {self.ids[0]!r}).",
                "Write one row a sample under the ids of the data, or cut the data to these samples.",
            )
        rows = np.array([self._place[name] for name in data.ids], dtype=np.int64)
        prob = self._prob[rows]
        if self.class_index is not None:
            prob = self._mapped(prob, data.ids)
        prob = np.clip(prob, 0.0, None)
        return Outputs(
            data.ids,
            (prob / prob.sum(axis=1, keepdims=True)).astype(np.float32),
            None if self.features is None else self.features[rows],
            self.held_out,
            f"predictions in {self.path.name}",
        )

    def _mapped(self, prob: NDArray[np.float64], ids: Sequence[str]) -> NDArray[np.float64]:
        assert self.class_index is not None
        made = np.zeros((len(prob), len(self.classes)))
        for output, k in enumerate(self.class_index):
            if k >= 0:
                made[:, k] += prob[:, output]
        none = np.flatnonzero(made.sum(axis=1) <= 0)
        if len(none):
            raise BadData(
                f"{self.path} gives all probability to classes outside the data for {len(none)} samples, "
                f"first {ids[int(none[0])]!r}.",
                "Give logits, which renormalise, or predictions over the data's classes.",
            )
        return made


def _places(path: Path, ids: Sequence[str]) -> dict[str, int]:
    if not ids:
        raise BadData(f"{path} has no rows.", "Give one row a sample.")
    place = {name: number for number, name in enumerate(ids)}
    if len(place) != len(ids):
        twice = next(name for number, name in enumerate(ids) if place[name] != number)
        raise BadData(f"{path} has {len(ids) - len(place)} repeated ids, first {twice!r}.", "Give one row a sample.")
    return place


def _numbers(path: Path, name: str, value: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise BadData(f"{path}: {name!r} is not numbers ({error}).", "Give probabilities or logits.") from error


def _read_npz(path: Path, id_column: str | None, classes: Sequence[str] | None) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} cannot be read as npz ({error}).", "Save plain arrays with numpy.savez.") from error
    ids, values = _first(arrays, (id_column,) if id_column else _IDS), _first(arrays, (*_PROBS, *_LOGITS))
    if ids is None or values is None:
        raise BadData(f"{path} holds {', '.join(arrays) or 'nothing'}:", "it needs 'id' and 'prob' or 'logits'.")
    names = arrays.get("classes")
    said = arrays.get("held_out")
    features = arrays.get("features")
    return {
        "id": [str(one) for one in arrays[ids].tolist()],
        "value": _numbers(path, values, arrays[values]),
        "logits": values in _LOGITS,
        "classes": None if names is None else [str(one) for one in names.tolist()],
        "features": None if features is None else np.asarray(features, dtype=np.float32),
        "held_out": None if said is None else bool(np.all(said)),
    }


def _read_table(path: Path, id_column: str | None, classes: Sequence[str] | None) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".csv":
            head = path.read_bytes()[:65536].decode("utf-8-sig").splitlines()[:1]
            texts = {name: pa.string() for name in (head[0].split(",") if head else []) if name.strip('"') in _IDS}
            table = pc.read_csv(path, convert_options=pc.ConvertOptions(column_types=texts))
        else:
            table = pq.read_table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read ({str(error).splitlines()[0]}).", "Save it again.") from error
    columns = table.column_names
    ids = _first(columns, (id_column,) if id_column else _IDS)
    if ids is None:
        raise BadData(f"{path} has no id column (it has {', '.join(columns[:12])}).", "Name one 'id'.")
    said = table.column("held_out").to_pylist() if "held_out" in columns else None
    made: dict[str, Any] = {
        "id": [str(one) for one in table.column(ids).to_pylist()],
        "held_out": None if said is None else all(said),
    }
    whole = next((name for name in (*_PROBS, *_LOGITS) if name in columns and not _plain(table, name)), None)
    if whole is not None:
        return {**made, **_listed(path, table, whole)}
    chosen = _class_columns(path, table, ids, classes)
    names = [_unprefixed(name) for name in chosen]
    value = np.stack([_numbers(path, name, table.column(name).to_pylist()) for name in chosen], axis=1)
    return {**made, "value": value, "logits": chosen[0].lower().startswith("logit"), "classes": names}


def _plain(table: pa.Table, name: str) -> bool:
    import pyarrow.types as types

    kind = table.column(name).type
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _listed(path: Path, table: pa.Table, name: str) -> dict[str, Any]:
    """One column of lists; in CSV a list is JSON text."""
    rows = table.column(name).to_pylist()
    try:
        rows = [json.loads(row) if isinstance(row, str) else row for row in rows]
    except json.JSONDecodeError as error:
        raise BadData(f"{path}: {name!r} is not a list of numbers ({error}).", "Write [0.1, 0.9].") from error
    lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(lengths) != 1 or -1 in lengths:
        raise BadData(f"{path}: the rows of {name!r} have {len(lengths)} lengths:", "give K numbers in every row.")
    return {"value": _numbers(path, name, rows), "logits": name in _LOGITS, "classes": None}


def _class_columns(path: Path, table: pa.Table, ids: str, classes: Sequence[str] | None) -> list[str]:
    numeric = [name for name in table.column_names if name != ids and _plain(table, name)]
    if classes is not None:  # named by the caller: only these, in this order
        by_name = {_unprefixed(name): name for name in reversed(numeric)}
        if all(str(name) in by_name for name in classes):
            return [by_name[str(name)] for name in classes]
    marked = [name for name in numeric if name.lower().startswith(_PREFIXES)]
    chosen = marked or [name for name in numeric if name.lower() not in _NEVER]
    if not chosen:
        raise BadData(
            f"{path} has no column of numbers for a class (it has {', '.join(table.column_names[:12])}).",
            "Give one column a class, or one column 'prob' of lists.",
        )
    return chosen


def _unprefixed(name: str) -> str:
    for prefix in _PREFIXES:
        if name.lower().startswith(prefix) and len(name) > len(prefix):
            return name[len(prefix) :]
    return name


def _first(names: Any, wanted: Sequence[str | None]) -> str | None:
    lower = {str(name).lower(): str(name) for name in names}
    return next((lower[str(one).lower()] for one in wanted if str(one).lower() in lower), None)
