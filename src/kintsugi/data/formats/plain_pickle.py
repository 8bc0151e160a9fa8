"""Reads pickles of plain data without ever running what a pickle may ask for.

A pickle is a program. Its machine is Python's own, but every name it may look up is one of ours: what stands for
``numpy.ndarray`` is a record that checks shape, type and length and then copies the bytes. Anything but dictionaries,
lists, tuples, text, bytes, numbers and arrays of plain numbers is refused by name. The opcodes are walked over first,
so that a file cannot ask for more memory than it is long.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = "biuf"  # truth values, whole numbers and floats; never objects
_REFUSED = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEWOBJ", "NEWOBJ_EX", "NEXT_BUFFER"}
_NDARRAY = object()  # stands for the class ``numpy.ndarray``
_REMEDY = "Pickles may run code, so only plain data is read: save it again as an .npz of plain arrays."


class NotPlain(Exception):
    """The pickle holds something else than plain data."""


class _Type:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > 8:
            raise NotPlain(f"an array of type {code!r}")
        try:
            self.dtype: np.dtype[Any] = np.dtype(text)
        except TypeError:
            raise NotPlain(f"an array of type {text!r}") from None
        if self.dtype.kind not in _KINDS or self.dtype.fields is not None:
            raise NotPlain(f"an array of type {text!r}")

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|"):
            raise NotPlain(f"the byte order {order!r}")
        if order == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands for one array; ``made`` is the array once its state is known."""

    made: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.made = _array(shape, kind, content, "F" if fortran else "C")


def _array(shape: Any, kind: Any, content: Any, order: Any = "C") -> NDArray[Any]:
    if isinstance(content, str):  # written by Python 2
        content = content.encode("latin1")
    sound = isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)
    if (
        not sound
        or not isinstance(kind, _Type)
        or not isinstance(content, bytes | bytearray)
        or order not in ("C", "F")
    ):
        raise NotPlain("an array that is not made of bytes")
    if math.prod(shape) * kind.dtype.itemsize != len(content):
        raise NotPlain(f"an array of shape {shape} with {len(content)} bytes")
    return np.frombuffer(content, dtype=kind.dtype).reshape(shape, order=order)


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY:
        raise NotPlain("an array of a class of its own")
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any, *more: Any) -> NDArray[Any]:
    return _array(shape, kind, content, order)


def _scalar(kind: Any, content: Any = b"") -> Any:
    return _array((), kind, content).item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise NotPlain("encoded text")
    return text.encode("latin1")


def _empty(*given: Any) -> bytes:
    if given:
        raise NotPlain("builtins.bytes")
    return b""


_MODULES = ("numpy.core", "numpy._core")
_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _MODULES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _MODULES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in _MODULES},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        found = _NAMES.get((module, name))
        if found is None:
            raise NotPlain(f"{module}.{name}")

        def call(*given: Any) -> Any:  # a pickle may set attributes: then of this, not of ours
            return found(*given)

        return call


def load(path: Path | str) -> Any:
    """The plain data in a pickle; arrays are read-only views of what was read.

    Raises:
        BadData: it is no pickle, is cut off, or holds anything else.
    """
    content = Path(path).read_bytes()
    try:
        _walk(content)
        return _plain(_Unpickler(BytesIO(content), encoding="latin1").load(), {})
    except NotPlain as error:
        raise BadData(f"{path} holds {error}, which is no plain data.", _REMEDY) from error
    except RecursionError as error:
        raise BadData(f"{path} is nested too deeply for plain data.", _REMEDY) from error
    except (pickle.UnpicklingError, ValueError, TypeError, IndexError, KeyError, AttributeError, EOFError) as error:
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BadData(f"{path} is no whole pickle of plain data ({why}).", _REMEDY) from error


def _walk(content: bytes) -> None:
    """Refuse opcodes that plain data never needs, and places in the memo beyond any that a file so long can fill."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _REFUSED:
            raise NotPlain(f"the opcode {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise NotPlain("a memo that is too large")


def _plain(value: Any, known: dict[int, Any], depth: int = 0) -> Any:
    """The value without our stand-ins; what is held in several places is looked at once."""
    if depth > 20:
        raise NotPlain("data nested more than twenty deep")
    if isinstance(value, _Array):
        if value.made is None:
            raise NotPlain("an array without content")
        return value.made
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, dict):
        made: Any = {_plain(key, known, depth + 1): _plain(each, known, depth + 1) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        numbers = all(type(each) is int for each in value)  # labels by the million
        made = value if numbers else type(value)(_plain(each, known, depth + 1) for each in value)
    elif isinstance(value, np.ndarray | str | bytes | bool | int | float | type(None)):
        return value
    else:
        raise NotPlain(f"a {type(value).__name__}")
    known[id(value)] = made
    return made
