"""`Run`: the folder of one piece of work; it can be interrupted and resumed, and never has two writers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadData, RunBusy
from kintsugi.core.files import append_line, disk_errors, plain, read_json, read_lines, write_json, write_with

if TYPE_CHECKING:
    from kintsugi.core.findings import Findings


class Run:
    """A run folder: ``config.json``, ``metrics.jsonl``, ``findings.parquet``, ``weights.safetensors``, ``report.html``.

    Args:
        dir: the folder; made on first write.
    """

    def __init__(self, dir: Path | str) -> None:  # noqa: A002 - the contract's name
        self.dir = Path(dir)

    def __repr__(self) -> str:
        return f"Run({str(self.dir)!r})"

    def path(self, name: str) -> Path:
        """A file of this run."""
        return self.dir / name

    def sub(self, name: str) -> Run:
        """A run inside this one, such as one rung of a repair."""
        return Run(self.dir / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Run]:
        """Hold the folder for writing.

        The lock is the kernel's and goes with the process, so a killed run leaves none behind.

        Raises:
            RunBusy: another process holds it.
        """
        with disk_errors(self.dir):
            self.dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunBusy(
                    f"Another run is writing to {self.dir}.", "Wait for it, or choose another --out folder."
                ) from error
            yield self
        finally:
            os.close(handle)

    def start(self, config: Mapping[str, Any]) -> bool:
        """Record the configuration; True when the folder already holds an interrupted run of the very same one.

        Raises:
            BadData: the folder holds a run of another configuration, which is never overwritten.
        """
        wanted = json.loads(json.dumps(config, default=plain))
        path = self.path("config.json")
        if not path.exists():
            write_json(path, wanted)
            return False
        found = read_json(path)
        if found != wanted:
            keys = set(found) | set(wanted)
            differ = sorted(key for key in keys if found.get(key) != wanted.get(key))
            raise BadData(
                f"{self.dir} holds a run of another configuration (differs in {', '.join(differ)}).",
                "Choose another --out folder, or remove this one.",
            )
        return True

    @property
    def config(self) -> dict[str, Any]:
        """The recorded configuration, empty before :meth:`start`."""
        path = self.path("config.json")
        return dict(read_json(path)) if path.exists() else {}

    def log(self, **values: Any) -> None:
        """Append one line of metrics; ``step`` is by custom one of the values."""
        append_line(self.path("metrics.jsonl"), values)

    def metrics(self) -> list[dict[str, Any]]:
        """All logged lines."""
        return read_lines(self.path("metrics.jsonl"))

    def save_findings(self, *findings: Findings) -> None:
        """Write the findings of all checks as one Parquet table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables([each.to_arrow() for each in findings])
        write_with(self.path("findings.parquet"), lambda name: pq.write_table(table, name))

    def save_weights(self, state: Mapping[str, Any], name: str = "weights.safetensors") -> Path:
        """Write tensors as safetensors, atomically."""
        from safetensors.torch import save_file

        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        path = self.path(name)
        write_with(path, lambda part: save_file(tensors, part))
        return path

    def load_weights(self, name: str = "weights.safetensors") -> dict[str, Any]:
        """Read tensors written by :meth:`save_weights`.

        Raises:
            BadData: the file is missing.
        """
        from safetensors.torch import load_file

        path = self.path(name)
        if not path.exists():
            raise BadData(f"{path} does not exist.", "Finish or repeat the run that writes it.")
        return load_file(path)
