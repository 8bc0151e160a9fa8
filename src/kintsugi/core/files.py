"""Writing that loses nothing: atomic files, a log that survives a crash, paths that stay in their folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from kintsugi.core.errors import BadData, KintsugiError, StorageFull

# Rust's libraries (safetensors) raise errors of their own; the system's number stands at the end of the text.
_RUST = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says against writing ``path`` into one clear error naming it.

    Raises:
        StorageFull: the disk, the quota or the largest size of a file is exhausted.
        BadData: the path cannot be written for another reason.
    """
    try:
        yield
    except KintsugiError:
        raise
    except Exception as error:
        number = _system_number(error)
        if number is None:
            raise
        why = os.strerror(number)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"The disk is full while writing {path}.", "Free some room; what was there before is intact."
            ) from error
        if number == errno.EFBIG:
            raise StorageFull(
                f"{path} grows larger than a file may be here ({why}).",
                "Raise the limit (ulimit -f), or choose another --out folder; what was there before is intact.",
            ) from error
        raise BadData(f"{path} cannot be written ({why}).", "Choose another --out folder.") from error


def _system_number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = _RUST.search(str(error))
    return int(found[1]) if found else None


@contextlib.contextmanager
def atomic(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under its name only when it is whole; a failure leaves the old file untouched.

    Raises:
        StorageFull: the disk is full.
        BadData: the folder cannot be written.
    """
    target = Path(path)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part")
        try:
            with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def write_with(path: Path | str, save: Callable[[str], Any]) -> None:
    """Let a library write to a temporary name beside ``path``, then move it into place.

    For writers that want a file name (safetensors, Parquet) and not an open file.
    """
    target = Path(path)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")
        try:
            save(str(part))
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            os.chmod(part, 0o666 & ~_umask())  # some writers make files only their owner can read
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def write_json(path: Path | str, data: Any) -> None:
    """Atomic JSON, sorted and indented. NaN is refused, since it is not JSON."""
    text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False, default=plain)
    with atomic(path, "w") as stream:
        stream.write(text + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON or say which file is broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadData(f"{path} is not JSON ({error}).", "Restore it or name another file.") from error


def append_line(path: Path | str, record: Any) -> None:
    """Append one JSON line. A line cut by a crash is taken off first; a full disk leaves the file as it was."""
    target = Path(path)
    line = (json.dumps(record, sort_keys=True, default=plain) + "\n").encode()
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab+", buffering=0) as stream:
            whole = _mended_end(stream)
            try:
                rest = memoryview(line)
                while rest:  # on a disk that fills up, the first write may take a part and only the second fail
                    rest = rest[stream.write(rest) :]
            except OSError:
                stream.truncate(whole)
                raise


def _mended_end(stream: IO[bytes]) -> int:
    """End a log's last line: a whole one with a line end, a torn one by taking it off. The log's length then."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        return 0
    stream.seek(size - 1)
    if stream.read(1) == b"\n":
        return size
    stream.seek(0)
    content = stream.read()
    start = content.rfind(b"\n") + 1
    try:
        json.loads(content[start:])
    except ValueError:
        return stream.truncate(start)
    stream.write(b"\n")
    return size + 1


def read_lines(path: Path | str) -> list[Any]:
    """All whole JSON lines of a log; a torn last line (a crash while writing) is left out.

    Raises:
        BadData: a line before the last is not JSON.
    """
    target = Path(path)
    if not target.exists():
        return []
    lines = target.read_text(encoding="utf-8", errors="replace").split("\n")
    records = []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines) - 1:
                break
            raise BadData(f"{target} line {number + 1} is not JSON.", "Repair or remove that line.") from error
    return records


def inside(root: Path | str, name: str) -> Path:
    """``root / name``, refused when it would leave ``root`` through ``..``, an absolute path or a symbolic link.

    Raises:
        BadData: the path leaves its folder.
    """
    base = Path(root).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise BadData(f"{name!r} leaves the folder {root}.", "Paths must stay inside the data folder.")
    return path


def plain(value: Any) -> Any:
    """What ``json`` cannot write by itself, as plain data: arrays, paths, cards and verdicts."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "as_dict"):
        return value.as_dict()
    raise TypeError(f"{type(value).__name__} is not JSON")
